defmodule Slither.Pool.Roster do
  @moduledoc false
  # Which workers a pool has, and what is to be done so that it has those it should. Pure.
  #
  # Every worker starts as a spare. It takes a place that is free, else that of a worker which is
  # due to leave, else it stays a spare. So a worker leaves only once another has its place:
  #
  #     starting -> spare -> ready -> draining -> stopping
  #
  # A worker is due when a limit of its own is met, or when it is older than the last restart. One
  # that is spent takes no more calls: it leaves at once, and another starts in its place. Such
  # places are `vacant`; they count as filled, or a pool of such workers would never be settled.

  alias Slither.Python.Board

  defmodule Member do
    @moduledoc false
    @enforce_keys [:pid, :epoch]
    defstruct [:pid, :epoch, :os_pid, :since, :due, status: :starting, lanes: []] ++
                [busy: false, spent: false]

    @type t :: %__MODULE__{
            pid: pid,
            epoch: non_neg_integer,
            os_pid: pos_integer | nil,
            since: integer | nil,
            due: atom,
            status: :starting | :spare | :ready | :draining | :stopping,
            lanes: [pid],
            busy: boolean,
            spent: boolean
          }
  end

  @enforce_keys [:size, :spare]
  defstruct [:size, :spare, members: %{}, epoch: 0, oldest: 0, leaving: [], vacant: 0]

  @type slot :: non_neg_integer
  @type step ::
          {:start, slot}
          | {:serve, slot}
          | {:drain, slot, reason :: atom}
          | {:stop, slot, reason :: atom}
  @type t :: %__MODULE__{
          size: pos_integer,
          spare: non_neg_integer,
          members: %{optional(slot) => Member.t()},
          epoch: non_neg_integer,
          oldest: non_neg_integer,
          leaving: [slot],
          vacant: non_neg_integer
        }

  @doc "Of a pool that is to have `size` workers and `spare` more that wait."
  @spec new(pos_integer, non_neg_integer) :: t
  def new(size, spare), do: %__MODULE__{size: size, spare: spare}

  ## What happened

  @doc "The process of a worker that was to be started."
  @spec started(t, slot, pid) :: t
  def started(roster, slot, pid),
    do: put(roster, slot, %Member{pid: pid, epoch: roster.epoch})

  @doc "A worker is ready; `since` is now, in ms."
  @spec ready(t, slot, pos_integer, [pid], integer) :: t
  def ready(roster, slot, os_pid, lanes, since) do
    member = roster.members[slot]
    status = if member.status == :starting, do: :spare, else: member.status
    member = %{member | status: status, os_pid: os_pid, lanes: lanes, since: since}
    put(roster, slot, member)
  end

  @doc "A lane is gone; returns its worker, which is not to serve with it."
  @spec lose_lane(t, pid) :: {pid | nil, t}
  def lose_lane(roster, lane) do
    case Enum.find(roster.members, fn {_slot, member} -> lane in member.lanes end) do
      nil ->
        {nil, roster}

      {slot, member} ->
        {member.pid, put(roster, slot, %{member | lanes: List.delete(member.lanes, lane)})}
    end
  end

  @doc "A worker is gone."
  @spec gone(t, slot) :: t
  def gone(roster, slot) do
    members = Map.delete(roster.members, slot)
    %{roster | members: members, leaving: List.delete(roster.leaving, slot)}
  end

  @doc "A worker has met a limit of its own."
  @spec due(t, slot, atom) :: t
  def due(roster, slot, reason) do
    case roster.members[slot] do
      %Member{due: nil} = member -> put(roster, slot, %{member | due: reason})
      _ -> roster
    end
  end

  @doc "A worker has taken all the calls that it may take."
  @spec spent(t, slot) :: t
  def spent(roster, slot) do
    case roster.members[slot] do
      %Member{status: :ready} = member -> put(roster, slot, %{member | spent: true})
      _ -> roster
    end
  end

  @doc "A worker that drains has no call out; sessions may keep it."
  @spec quiet(t, slot) :: t
  def quiet(roster, slot), do: put(roster, slot, %{roster.members[slot] | busy: false})

  @doc "A worker that drains is told to stop."
  @spec stop(t, slot) :: t
  def stop(roster, slot) do
    member = %{roster.members[slot] | status: :stopping, busy: false}
    %{put(roster, slot, member) | leaving: List.delete(roster.leaving, slot)}
  end

  ## What is wanted

  @doc "Every worker that there is now is to be replaced."
  @spec renew(t) :: t
  def renew(roster),
    do: %{roster | epoch: roster.epoch + 1, oldest: roster.epoch + 1, vacant: 0}

  @doc "They are not, after all; `oldest` is from before."
  @spec keep(t, non_neg_integer) :: t
  def keep(roster, oldest), do: %{roster | oldest: oldest}

  @doc "Another number of workers."
  @spec resize(t, pos_integer) :: t
  def resize(roster, size), do: vacate(%{roster | size: size}, roster.vacant)

  @doc """
  Whether as many workers serve as should, none from before the last restart, and none of those
  that left has a call out.
  """
  @spec settled?(t) :: boolean
  def settled?(roster) do
    length(slots(roster, :ready)) + roster.vacant == roster.size and not draining?(roster) and
      not Enum.any?(roster.members, fn {_slot, member} ->
        member.status in [:starting, :spare, :ready] and stale?(roster, member)
      end)
  end

  @doc "Whether no more serve than should, and none of those that left has a call out."
  @spec shrunk?(t) :: boolean
  def shrunk?(roster),
    do: length(slots(roster, :ready)) <= roster.size and not draining?(roster)

  ## Questions

  @doc "The worker of a process, with its slot."
  @spec find(t, pid) :: {slot, Member.t()} | nil
  def find(roster, pid), do: Enum.find(roster.members, fn {_slot, m} -> m.pid == pid end)

  @doc "The worker of a slot, if its process is `pid`."
  @spec member(t, slot, pid) :: Member.t() | nil
  def member(roster, slot, pid) do
    case roster.members do
      %{^slot => %Member{pid: ^pid} = member} -> member
      _ -> nil
    end
  end

  @doc "Whether a worker serves, or could at once."
  @spec serving?(t) :: boolean
  def serving?(roster),
    do: Enum.any?(roster.members, fn {_slot, member} -> member.status in [:ready, :spare] end)

  @doc "Why a worker is to leave, or does."
  @spec reason(t, Member.t()) :: atom
  def reason(roster, member) do
    cond do
      member.due -> member.due
      stale?(roster, member) -> :restart
      true -> nil
    end
  end

  ## What is to be done

  @doc """
  The steps to what is wanted, in order, and the roster once they are done. No more than `room`
  workers start at once.
  """
  @spec steps(t, non_neg_integer | :infinity) :: {[step], t}
  def steps(roster, room) do
    case next(roster, room) do
      nil ->
        {[], roster}

      {steps, roster} ->
        {more, roster} = steps(roster, room)
        {steps ++ more, roster}
    end
  end

  defp next(roster, room) do
    ready = slots(roster, :ready)
    spares = slots(roster, :spare)
    due = Enum.find(ready, &due?(roster, &1))
    spent = Enum.find(ready, &roster.members[&1].spent)
    fresh = Enum.find(spares, &(not due?(roster, &1)))

    cond do
      spent != nil -> leave(roster, spent)
      length(ready) < roster.size and spares != [] -> serve(roster, fresh || hd(spares))
      length(ready) > roster.size -> drain(roster, last(roster, ready), :resize)
      due != nil and fresh != nil -> swap(roster, fresh, due)
      length(spares) > roster.spare -> dismiss(roster, last(roster, spares))
      true -> start_or_stop(roster, roster.size - length(ready), length(spares), room)
    end
  end

  # Those that start and are due will do for a place that is free, but replace nobody.
  defp start_or_stop(roster, missing, spares, room) do
    starting = slots(roster, :starting)
    places = missing + max(roster.spare - spares, 0)
    wanted = places + replacing(roster)
    {due, fresh} = Enum.split_with(starting, &due?(roster, &1))
    coming = length(fresh) + min(length(due), places)

    cond do
      length(starting) > wanted -> dismiss(roster, last(roster, starting))
      coming < wanted and length(starting) < room -> start(roster)
      true -> nil
    end
  end

  # One at a time: a pool that replaces all its workers takes the memory of one more.
  defp replacing(roster) do
    due? =
      Enum.any?(roster.members, fn {slot, member} ->
        member.status in [:starting, :spare, :ready] and due?(roster, slot)
      end)

    if due? and not draining?(roster), do: 1, else: 0
  end

  # A place that nobody has had yet is filled before one that is vacant.
  defp serve(roster, slot) do
    roster = status(roster, slot, :ready)
    {[{:serve, slot}], vacate(roster, roster.vacant)}
  end

  # One from before the last restart leaves no place that counts as filled.
  defp leave(roster, slot) do
    more = if stale?(roster, roster.members[slot]), do: 0, else: 1
    {steps, roster} = drain(roster, slot, :max_calls)
    {steps, vacate(roster, roster.vacant + more)}
  end

  defp vacate(roster, count),
    do: %{roster | vacant: count |> min(roster.size - length(slots(roster, :ready))) |> max(0)}

  defp swap(roster, fresh, due) do
    reason = reason(roster, roster.members[due])
    {[serve], roster} = serve(roster, fresh)
    {[drain], roster} = drain(roster, due, reason)
    {[serve, drain], roster}
  end

  defp drain(roster, slot, reason) do
    member = %{roster.members[slot] | status: :draining, busy: true, due: reason}
    {[{:drain, slot, reason}], %{put(roster, slot, member) | leaving: [slot | roster.leaving]}}
  end

  defp dismiss(roster, slot) do
    reason = reason(roster, roster.members[slot]) || :resize
    {[{:stop, slot, reason}], stop(roster, slot)}
  end

  defp start(roster) do
    slot = Enum.find(0..(Board.count() - 1), &(not is_map_key(roster.members, &1)))
    # Its process comes with `started/3`.
    member = %Member{pid: nil, epoch: roster.epoch}
    if slot, do: {[{:start, slot}], put(roster, slot, member)}
  end

  # Of several, one that is due anyway goes first, then the last.
  defp last(roster, slots), do: Enum.max_by(slots, &{due?(roster, &1), &1})

  defp slots(roster, status) do
    Enum.sort(for {slot, %Member{status: ^status}} <- roster.members, do: slot)
  end

  defp due?(roster, slot), do: reason(roster, roster.members[slot]) != nil
  defp stale?(roster, member), do: member.epoch < roster.oldest
  defp draining?(roster), do: Enum.any?(roster.leaving, &roster.members[&1].busy)

  defp status(roster, slot, status),
    do: put(roster, slot, %{roster.members[slot] | status: status})

  defp put(roster, slot, member), do: %{roster | members: Map.put(roster.members, slot, member)}
end
