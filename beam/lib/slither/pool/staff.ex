defmodule Slither.Pool.Staff do
  @moduledoc false
  # Which workers a pool has, and the steps to those that it should have. Pure; `Slither.Pool.Upkeep`
  # tells it what happened and takes the steps, in the scheduler.
  #
  # A worker that has started is a spare. It takes a free place, or else the place of a worker that
  # is due to leave, or else it stays a spare. So a worker leaves only once another has its place:
  #
  #     starting -> spare -> ready -> draining -> stopping
  #
  # A worker is due when it has met a limit of its own, or is older than the last restart. A
  # worker that is spent takes no more calls: it leaves at once, and another starts in its place.
  # Until that one is ready, the place is `vacant` and counts as filled, since a pool whose
  # workers are spent all the time would otherwise never count as settled.

  alias Slither.Python.{Board, Placement}

  defmodule Member do
    @moduledoc false
    # What the staff knows of the worker in a slot.
    @enforce_keys [:pid, :epoch]
    defstruct [:pid, :epoch, :os_pid, :since, :due, :place, status: :starting, lanes: []] ++
                [busy: false, spent: false]

    @typedoc """
    A worker of its owner `pid`, which is nil until that is started. `epoch` is the number of
    restarts before it, and `since` when it was ready, in monotonic ms. `due` says why it is to
    leave. It runs at `place`. One that drains is `busy` while a lane of it is out.
    """
    @type t :: %__MODULE__{
            pid: pid | nil,
            epoch: non_neg_integer,
            os_pid: pos_integer | nil,
            since: integer | nil,
            due: atom,
            place: Placement.place() | nil,
            status: :starting | :spare | :ready | :draining | :stopping,
            lanes: [pid],
            busy: boolean,
            spent: boolean
          }
  end

  @enforce_keys [:size, :least, :most, :spare]
  defstruct [:size, :least, :most, :spare] ++
              [members: %{}, epoch: 0, oldest: 0, leaving: [], vacant: 0] ++
              [plan: %Placement{}]

  @typedoc "A number of workers, or the least and the most."
  @type size :: pos_integer | Range.t()
  @type slot :: non_neg_integer
  @type step ::
          {:start, slot}
          | {:serve, slot}
          | {:drain, slot, reason :: atom}
          | {:stop, slot, reason :: atom}

  @typedoc """
  `size` workers are to serve and `spare` more to wait; the pool may change the size by itself from
  `least` to `most`. Workers from before restart `oldest` are to
  be replaced. Those that drain are `leaving`. `plan` says where workers run.
  """
  @type t :: %__MODULE__{
          size: pos_integer,
          least: pos_integer,
          most: pos_integer,
          spare: non_neg_integer,
          members: %{optional(slot) => Member.t()},
          epoch: non_neg_integer,
          oldest: non_neg_integer,
          leaving: [slot],
          vacant: non_neg_integer,
          plan: Placement.t()
        }

  @doc "The staff of a new pool: nobody yet. A range is begun at its least."
  @spec new(size, non_neg_integer, Placement.t()) :: t
  def new(size, spare, plan \\ %Placement{}) do
    {least, most} = ends(size)
    %__MODULE__{size: least, least: least, most: most, spare: spare, plan: plan}
  end

  defp ends(first..last//_step), do: {first, last}
  defp ends(size), do: {size, size}

  ## What happened

  @doc "The owner of a worker was started."
  @spec started(t, slot, pid) :: t
  def started(staff, slot, pid), do: put(staff, slot, %{staff.members[slot] | pid: pid})

  @doc "A worker has started; `since` is now, in monotonic ms."
  @spec ready(t, slot, pos_integer, [pid], integer) :: t
  def ready(staff, slot, os_pid, lanes, since) do
    member = staff.members[slot]
    status = if member.status == :starting, do: :spare, else: member.status
    member = %{member | status: status, os_pid: os_pid, lanes: lanes, since: since}
    put(staff, slot, member)
  end

  @doc "A lane is gone; returns its worker, which is not to serve with it."
  @spec lose_lane(t, pid) :: {pid | nil, t}
  def lose_lane(staff, lane) do
    case Enum.find(staff.members, fn {_slot, member} -> lane in member.lanes end) do
      nil ->
        {nil, staff}

      {slot, member} ->
        {member.pid, put(staff, slot, %{member | lanes: List.delete(member.lanes, lane)})}
    end
  end

  @doc "A worker is gone."
  @spec gone(t, slot) :: t
  def gone(staff, slot) do
    members = Map.delete(staff.members, slot)
    %{staff | members: members, leaving: List.delete(staff.leaving, slot)}
  end

  @doc "A worker has met a limit of its own."
  @spec due(t, slot, atom) :: t
  def due(staff, slot, reason) do
    case staff.members[slot] do
      %Member{due: nil} = member -> put(staff, slot, %{member | due: reason})
      _ -> staff
    end
  end

  @doc "A worker has taken all the calls that it may take."
  @spec spent(t, slot) :: t
  def spent(staff, slot) do
    case staff.members[slot] do
      %Member{status: :ready} = member -> put(staff, slot, %{member | spent: true})
      _ -> staff
    end
  end

  @doc "A worker that drains has no lane out; it may wait for its sessions."
  @spec quiet(t, slot) :: t
  def quiet(staff, slot), do: put(staff, slot, %{staff.members[slot] | busy: false})

  @doc "A worker that drains is told to stop."
  @spec stop(t, slot) :: t
  def stop(staff, slot) do
    member = %{staff.members[slot] | status: :stopping, busy: false}
    %{put(staff, slot, member) | leaving: List.delete(staff.leaving, slot)}
  end

  ## What is wanted

  @doc "Every worker that there is now is to be replaced."
  @spec renew(t) :: t
  def renew(staff),
    do: %{staff | epoch: staff.epoch + 1, oldest: staff.epoch + 1, vacant: 0}

  @doc "Takes `renew/1` back; `oldest` is from before it."
  @spec keep(t, non_neg_integer) :: t
  def keep(staff, oldest), do: %{staff | oldest: oldest}

  @doc "Changes how many workers are to serve, or may."
  @spec resize(t, size) :: t
  def resize(staff, size) do
    {least, most} = ends(size)
    sized(%{staff | least: least, most: most}, staff.size |> max(least) |> min(most))
  end

  @doc "Changes how many workers are to serve, among those that may."
  @spec sized(t, pos_integer) :: t
  def sized(staff, size) when size >= staff.least and size <= staff.most,
    do: vacate(%{staff | size: size}, staff.vacant)

  @doc "Workers that are idle are to leave, and none to come in their places."
  @spec retire(t, [slot]) :: t
  def retire(staff, slots) do
    slots |> Enum.reduce(staff, &due(&2, &1, :idle)) |> sized(staff.size - length(slots))
  end

  @doc """
  Whether as many workers serve as should, none of them is from before the last restart, and none
  that drains has a lane out.
  """
  @spec settled?(t) :: boolean
  def settled?(staff) do
    length(slots(staff, :ready)) + staff.vacant == staff.size and not draining?(staff) and
      not Enum.any?(staff.members, fn {_slot, member} ->
        member.status in [:starting, :spare, :ready] and stale?(staff, member)
      end)
  end

  @doc "Whether no more workers serve than should, and none that drains has a lane out."
  @spec shrunk?(t) :: boolean
  def shrunk?(staff),
    do: length(slots(staff, :ready)) <= staff.size and not draining?(staff)

  ## Questions

  @doc "How many workers are to come that are to serve."
  @spec coming(t) :: non_neg_integer
  def coming(staff), do: max(0, staff.size - length(slots(staff, :ready)))

  @doc "The worker of a slot, if its owner is `pid`."
  @spec member(t, slot, pid) :: Member.t() | nil
  def member(staff, slot, pid) do
    case staff.members do
      %{^slot => %Member{pid: ^pid} = member} -> member
      _ -> nil
    end
  end

  @doc "Whether a worker serves, or is about to."
  @spec serving?(t) :: boolean
  def serving?(staff),
    do: Enum.any?(staff.members, fn {_slot, member} -> member.status in [:ready, :spare] end)

  ## What is to be done

  @doc """
  The steps to the workers that are wanted, in order, and the staff once they are taken. No more
  than `room` workers are starting at a time.
  """
  @spec steps(t, non_neg_integer | :infinity) :: {[step], t}
  def steps(staff, room) do
    case next(staff, room) do
      nil ->
        {[], staff}

      {steps, staff} ->
        {more, staff} = steps(staff, room)
        {steps ++ more, staff}
    end
  end

  defp next(staff, room) do
    ready = slots(staff, :ready)
    spares = slots(staff, :spare)
    due = Enum.find(ready, &due?(staff, &1))
    spent = Enum.find(ready, &staff.members[&1].spent)
    fresh = Enum.find(spares, &(not due?(staff, &1)))

    cond do
      spent != nil -> leave(staff, spent)
      length(ready) < staff.size and spares != [] -> serve(staff, fresh || hd(spares))
      length(ready) > staff.size -> leave_for_good(staff, last(staff, ready))
      due != nil and fresh != nil -> swap(staff, fresh, due)
      length(spares) > staff.spare -> dismiss(staff, last(staff, spares))
      true -> start_or_stop(staff, staff.size - length(ready), length(spares), room)
    end
  end

  # A worker that is due before it is ready may take a free place, but can't replace another.
  defp start_or_stop(staff, missing, spares, room) do
    starting = slots(staff, :starting)
    places = missing + max(staff.spare - spares, 0)
    wanted = places + replacing(staff)
    {due, fresh} = Enum.split_with(starting, &due?(staff, &1))
    coming = length(fresh) + min(length(due), places)

    cond do
      length(starting) > wanted -> dismiss(staff, last(staff, starting))
      coming < wanted and length(starting) < room -> start(staff)
      true -> nil
    end
  end

  # Workers are replaced one at a time, so that a restart needs memory for only one more.
  defp replacing(staff) do
    due? =
      Enum.any?(staff.members, fn {slot, member} ->
        member.status in [:starting, :spare, :ready] and due?(staff, slot)
      end)

    if due? and not draining?(staff), do: 1, else: 0
  end

  defp leave_for_good(staff, slot),
    do: drain(staff, slot, if(staff.members[slot].due == :idle, do: :idle, else: :resize))

  # A free place is filled before a vacant one.
  defp serve(staff, slot) do
    staff = status(staff, slot, :ready)
    {[{:serve, slot}], vacate(staff, staff.vacant)}
  end

  # A worker from before the last restart leaves a free place, not a vacant one, so that the
  # restart is not over before another worker has filled it.
  defp leave(staff, slot) do
    more = if stale?(staff, staff.members[slot]), do: 0, else: 1
    {steps, staff} = drain(staff, slot, :max_calls)
    {steps, vacate(staff, staff.vacant + more)}
  end

  defp vacate(staff, count),
    do: %{staff | vacant: count |> min(staff.size - length(slots(staff, :ready))) |> max(0)}

  defp swap(staff, fresh, due) do
    reason = reason(staff, staff.members[due])
    {[serve], staff} = serve(staff, fresh)
    {[drain], staff} = drain(staff, due, reason)
    {[serve, drain], staff}
  end

  defp drain(staff, slot, reason) do
    member = %{staff.members[slot] | status: :draining, busy: true, due: reason}
    {[{:drain, slot, reason}], %{put(staff, slot, member) | leaving: [slot | staff.leaving]}}
  end

  defp dismiss(staff, slot) do
    reason = reason(staff, staff.members[slot]) || :resize
    {[{:stop, slot, reason}], stop(staff, slot)}
  end

  defp start(staff) do
    slot = Enum.find(0..(Board.count() - 1), &(not is_map_key(staff.members, &1)))
    # `started/3` fills in the pid of the worker's owner.
    member = %Member{pid: nil, epoch: staff.epoch, place: place(staff)}
    if slot, do: {[{:start, slot}], put(staff, slot, member)}
  end

  # One that is due, or drains, leaves its place to whoever comes.
  defp place(staff) do
    held =
      for {slot, %Member{place: %{} = place, status: status}} <- Enum.sort(staff.members),
          do: {place, status in [:starting, :spare, :ready] and not due?(staff, slot)}

    Placement.choose(staff.plan, staff.most + staff.spare, held)
  end

  # The worker to go is one that is idle, or else the last of those that are due, or of all.
  defp last(staff, slots),
    do: Enum.max_by(slots, &{staff.members[&1].due == :idle, due?(staff, &1), &1})

  defp slots(staff, status) do
    Enum.sort(for {slot, %Member{status: ^status}} <- staff.members, do: slot)
  end

  # Why a worker is to leave.
  defp reason(staff, member), do: member.due || if(stale?(staff, member), do: :restart)
  defp due?(staff, slot), do: reason(staff, staff.members[slot]) != nil
  defp stale?(staff, member), do: member.epoch < staff.oldest
  defp draining?(staff), do: Enum.any?(staff.leaving, &staff.members[&1].busy)

  defp status(staff, slot, status),
    do: put(staff, slot, %{staff.members[slot] | status: status})

  defp put(staff, slot, member), do: %{staff | members: Map.put(staff.members, slot, member)}
end
