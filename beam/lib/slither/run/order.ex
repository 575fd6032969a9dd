defmodule Slither.Run.Order do
  @moduledoc false
  # The reorder buffer of a flow: what its batches gave, held until it may be taken. Pure.
  #
  # Batches come in groups, in the order of the input. With `:preserve` a group has its turn once
  # all its batches, and those of the groups before it, are settled; then its outcomes are sorted by
  # their seqs. With `:as_completed` nothing waits. Results that a handler yields go ahead of
  # their batch, as soon as everything before them is settled.
  #
  # A failure that ends the run comes out last, behind all outcomes that precede it.

  alias Slither.Item

  defmodule Group do
    @moduledoc false
    # `left` counts the batches that are not settled, `settled` those that are. `since` is the sum
    # of the times at which these were settled, which gives how long they have waited. `bytes` is
    # the size of the results in `chunks`.
    @enforce_keys [:left]
    defstruct [:left, :halt, chunks: [], settled: 0, since: 0, bytes: 0, early?: false]
  end

  @enforce_keys [:ordering]
  defstruct [
    :ordering,
    groups: %{},
    next: 0,
    turn: 0,
    complete: 0,
    ready: :queue.new(),
    ready_bytes: 0,
    waited: 0,
    over?: false
  ]

  @typedoc """
  `turn` is the group that comes out next, `complete` how many groups have nothing open and were not
  taken, `waited` how long batches were held for their turn, and `over?` says that the run has ended
  with a failure.
  """
  @type t :: %__MODULE__{
          ordering: :preserve | :as_completed,
          groups: %{optional(id) => %Group{}},
          next: id,
          turn: id,
          complete: non_neg_integer,
          ready: :queue.queue(chunk | full | halt),
          ready_bytes: non_neg_integer,
          waited: integer,
          over?: boolean
        }

  @type id :: non_neg_integer
  @typedoc """
  What became of an item. One that has many values has an outcome for each of them, `:made`, and one
  for itself: `:ended` behind the last, or `:none` where there were none.
  """
  @type outcome ::
          {seq :: term, :ok | :skipped | {:routed, output :: term} | :made | :ended | :none,
           Item.t()}
  @type chunk :: {:ok, [{seq :: term, Item.t()}]} | {:mixed, [outcome]}
  @typedoc "A whole batch that went well, whose values are not in its items yet."
  @type full :: {:full, [{seq :: term, Item.t()}], values :: [term], attempt :: pos_integer}
  @type halt :: {:halt, seq :: term, Exception.t()}

  @doc "An empty buffer."
  @spec new(:preserve | :as_completed) :: t
  def new(ordering), do: %__MODULE__{ordering: ordering}

  @doc "Begins a group of batches, after those that were begun before."
  @spec open(t, pos_integer) :: {id, t}
  def open(%__MODULE__{next: id} = order, batches) do
    groups = Map.put(order.groups, id, %Group{left: batches})
    {id, %{order | next: id + 1, groups: groups}}
  end

  @doc "So many more batches are part of a group: parts of one, or one that is tried again."
  @spec grow(t, id, pos_integer) :: t
  def grow(order, id, count \\ 1), do: update(order, id, &%{&1 | left: &1.left + count})

  @doc "Takes in what is decided of a group."
  @spec add(t, id, chunk | full) :: t
  def add(%__MODULE__{ordering: :as_completed} = order, _id, chunk), do: let_out(order, [chunk])
  def add(order, id, chunk), do: update(order, id, &%{&1 | chunks: [chunk | &1.chunks]})

  @doc "So many bytes are held for a group."
  @spec hold(t, id, non_neg_integer) :: t
  def hold(order, _id, 0), do: order
  def hold(order, id, bytes), do: update(order, id, &%{&1 | bytes: &1.bytes + bytes})

  @doc "The run ends with the failure of item `seq`, unless one before it fails too."
  @spec halt(t, id, seq :: term, Exception.t()) :: t
  def halt(order, id, seq, error),
    do: update(order, id, &%{&1 | halt: earlier(&1.halt, {seq, error})})

  defp earlier({seq, _} = old, {other, _}) when seq <= other, do: old
  defp earlier(_old, new), do: new

  @doc "A batch of a group is settled: all that is to come of it is there."
  @spec settle(t, id, integer) :: t
  def settle(%__MODULE__{groups: groups} = order, id, now) do
    case groups do
      %{^id => %Group{left: left, settled: settled, since: since} = group} ->
        group = %{group | left: left - 1, settled: settled + 1, since: since + now}
        settled(order, id, group, now)

      # The run has ended, and its groups are gone.
      _ ->
        order
    end
  end

  defp settled(%{ordering: :preserve} = order, id, %Group{left: 0} = group, now) do
    groups = Map.put(order.groups, id, group)
    turn(%{order | groups: groups, complete: order.complete + 1}, now)
  end

  defp settled(%{ordering: :as_completed} = order, id, %Group{halt: {_, _}} = group, now),
    do: release(order, id, group, now)

  defp settled(%{ordering: :as_completed} = order, id, %Group{left: 0} = group, now),
    do: release(%{order | complete: order.complete + 1}, id, group, now)

  defp settled(order, id, group, _now), do: %{order | groups: Map.put(order.groups, id, group)}

  defp turn(%__MODULE__{turn: id, groups: groups} = order, now) do
    case groups do
      %{^id => %Group{left: 0} = group} ->
        %{order | turn: id + 1} |> release(id, group, now) |> turn(now)

      _ ->
        order
    end
  end

  @doc "Some items of a batch are decided while the rest of it is still out."
  @spec early(t, id) :: t
  def early(order, id), do: update(order, id, &%{&1 | early?: true})

  @doc """
  The group that has early results to let out now that something of group `id` was decided. `pass/4`
  lets them out: it needs to know what is open of that group, which the buffer does not.
  """
  @spec passing(t, id) :: id | nil
  def passing(%__MODULE__{ordering: :as_completed, groups: groups}, id),
    do: passing_of(groups, id)

  def passing(%__MODULE__{turn: turn, groups: groups}, _id), do: passing_of(groups, turn)

  defp passing_of(groups, id) do
    case groups do
      %{^id => %Group{early?: true}} -> id
      _ -> nil
    end
  end

  @doc """
  Results of a group go on before its batches, as far as nothing of the group that comes before them
  is open: `open` is the lowest seq that is, or `nil`. The others are held, as whole batches are.
  """
  @spec pass(t, id, open :: term, integer) :: t
  def pass(%__MODULE__{ordering: :as_completed} = order, id, _open, now) do
    case order.groups do
      %{^id => %Group{halt: {_, _}} = group} -> release(order, id, group, now)
      %{^id => group} -> passed(order, id, group, [], [])
    end
  end

  def pass(%__MODULE__{groups: groups} = order, id, open, now) do
    %{^id => %Group{chunks: chunks, halt: halt} = group} = groups

    case ready(chunks, halt, open) do
      :over -> release(order, id, group, now)
      {go, stay} -> passed(order, id, group, go, stay)
    end
  end

  defp passed(order, id, group, go, stay) do
    free = if stay == [], do: group.bytes, else: 0
    groups = Map.put(order.groups, id, %{group | chunks: stay, bytes: group.bytes - free})
    let_out(%{order | groups: groups, ready_bytes: order.ready_bytes + free}, go)
  end

  @doc """
  What of a group's chunks may go on while batches of it are out, and what stays: an outcome may
  once none ahead of it can come any more. `open` is the lowest seq that is not decided, `halt`
  the failure that ends the run.

  `:over` says that all that counts is there: what is open comes after the failure.
  """
  @spec ready([chunk], {seq :: term, Exception.t()} | nil, open :: term) ::
          {[chunk], [chunk]} | :over
  def ready(_chunks, {halt, _error}, open) when open == nil or open > halt, do: :over
  def ready([], _halt, _open), do: {[], []}
  def ready(chunks, nil, nil), do: {mixed(outcomes(chunks)), []}

  def ready([{:ok, entries}] = chunks, _halt, open) do
    if Enum.all?(entries, fn {seq, _item} -> seq < open end), do: {chunks, []}, else: {[], chunks}
  end

  def ready(chunks, _halt, open) do
    {go, stay} = chunks |> outcomes() |> Enum.split_while(fn {seq, _, _} -> seq < open end)
    {mixed(go), mixed(stay)}
  end

  @doc "Whether a batch of a group that is settled now, as a whole, can be taken at once."
  @spec at_once?(t, id) :: boolean
  def at_once?(%__MODULE__{ordering: :as_completed}, _id), do: true

  def at_once?(%__MODULE__{turn: id, groups: groups}, id),
    do: match?(%{^id => %Group{left: 1, chunks: [], halt: nil}}, groups)

  def at_once?(_order, _id), do: false

  @doc "Whether a group's early results are ready to be taken, none of them held for its turn."
  @spec out?(t, id) :: boolean
  def out?(%__MODULE__{ready: ready, groups: groups}, id),
    do: not :queue.is_empty(ready) and match?(%{^id => %Group{chunks: [], halt: nil}}, groups)

  @doc "Whether nothing is open, held or ready."
  @spec idle?(t) :: boolean
  def idle?(%__MODULE__{groups: groups, ready: ready}),
    do: groups == %{} and :queue.is_empty(ready)

  @doc "Everything that is ready, in order, and its bytes."
  @spec take(t) :: {[chunk | full | halt], bytes :: non_neg_integer, t}
  def take(%__MODULE__{ready: ready, ready_bytes: bytes, groups: groups} = order) do
    complete = Enum.count(groups, fn {_id, group} -> group.left == 0 end)

    {:queue.to_list(ready), bytes,
     %{order | ready: :queue.new(), ready_bytes: 0, complete: complete}}
  end

  defp release(order, id, group, now) do
    order =
      let_out(
        %{
          order
          | groups: Map.delete(order.groups, id),
            waited: order.waited + group.settled * now - group.since,
            ready_bytes: order.ready_bytes + group.bytes
        },
        merge(group)
      )

    case group.halt do
      nil -> order
      # The failure ends the run: outcomes of later groups are dropped.
      {seq, error} -> %{let_out(order, [{:halt, seq, error}]) | groups: %{}, over?: true}
    end
  end

  defp let_out(order, chunks),
    do: %{order | ready: Enum.reduce(chunks, order.ready, &:queue.in/2)}

  defp merge(%Group{chunks: [], halt: nil}), do: []
  defp merge(%Group{chunks: [{:ok, _} = chunk], halt: nil}), do: [chunk]
  defp merge(%Group{chunks: [{:full, _, _, _} = chunk], halt: nil}), do: [chunk]
  defp merge(%Group{chunks: chunks, halt: nil}), do: [{:mixed, outcomes(chunks)}]

  defp merge(%Group{chunks: chunks, halt: {seq, _error}}),
    do: chunks |> outcomes() |> Enum.take_while(&(elem(&1, 0) < seq)) |> mixed()

  defp outcomes(chunks) do
    chunks
    |> Enum.flat_map(fn
      {:ok, entries} -> for {seq, item} <- entries, do: {seq, :ok, item}
      {:mixed, outcomes} -> outcomes
    end)
    |> Enum.sort_by(&elem(&1, 0))
  end

  defp mixed([]), do: []
  defp mixed(outcomes), do: [{:mixed, outcomes}]

  defp update(order, id, fun) do
    case order.groups do
      %{^id => group} -> %{order | groups: Map.put(order.groups, id, fun.(group))}
      _ -> order
    end
  end
end
