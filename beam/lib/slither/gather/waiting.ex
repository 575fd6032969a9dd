defmodule Slither.Gather.Waiting do
  @moduledoc false
  # The items of a gather that no batch has yet, by key, each in the order in which it came. Pure;
  # held by `Slither.Gather.Batches`.
  #
  # A key's queue keeps the numbers of items that were taken out until they are its first, as
  # a queue can't be searched; `items` has those that still wait.

  @enforce_keys [:max]
  defstruct [:max, keys: %{}, heads: :gb_sets.new(), items: %{}, full: %{}]

  @type seq :: non_neg_integer
  @type key :: term

  @typedoc """
  Batches have at most `max` items. `heads` has the first item of each key, the oldest one first.
  `full` counts whole batches of the keys that have any.
  """
  @type t :: %__MODULE__{
          max: pos_integer,
          keys: %{optional(key) => {:queue.queue(seq), size :: pos_integer}},
          heads: :gb_sets.set({seq, key}),
          items: %{optional(seq) => {key, since :: integer, payload :: term}},
          full: %{optional(key) => pos_integer}
        }

  @doc "Nothing, for batches of at most `max` items."
  @spec new(pos_integer) :: t
  def new(max), do: %__MODULE__{max: max}

  @doc "How many items wait."
  @spec count(t) :: non_neg_integer
  def count(waiting), do: map_size(waiting.items)

  @doc "Puts an item behind the others of its key; `seq` is higher than any before."
  @spec put(t, seq, key, term, integer) :: t
  def put(waiting, seq, key, payload, since) do
    {queue, size, heads} =
      case waiting.keys do
        %{^key => {queue, size}} -> {queue, size, waiting.heads}
        _ -> {:queue.new(), 0, :gb_sets.add({seq, key}, waiting.heads)}
      end

    keys = Map.put(waiting.keys, key, {:queue.in(seq, queue), size + 1})
    items = Map.put(waiting.items, seq, {key, since, payload})
    fill(%{waiting | keys: keys, heads: heads, items: items}, key, size + 1)
  end

  @doc "The key of the oldest item, and since when that waits; nil for none."
  @spec oldest(t) :: {key, integer} | nil
  def oldest(%__MODULE__{items: items}) when items == %{}, do: nil

  def oldest(waiting) do
    {seq, key} = :gb_sets.smallest(waiting.heads)
    {_key, since, _payload} = waiting.items[seq]
    {key, since}
  end

  @doc "A key that has a whole batch; nil for none."
  @spec full(t) :: {:key, key} | nil
  def full(%__MODULE__{full: full}) when full == %{}, do: nil
  def full(%__MODULE__{full: full}), do: {:key, full |> Map.keys() |> hd()}

  @doc "How many batches there are that are whole, or have an item that waits since `time` or before."
  @spec batches(t, integer) :: non_neg_integer
  def batches(waiting, time) do
    whole = waiting.full |> Map.values() |> Enum.sum()
    whole + overdue(:gb_sets.next(:gb_sets.iterator(waiting.heads)), waiting, time)
  end

  # Keys whose oldest item has waited for long enough, and that no whole batch takes along.
  defp overdue(:none, _waiting, _time), do: 0

  defp overdue({{seq, key}, next}, waiting, time) do
    case waiting.items[seq] do
      {_key, since, _payload} when since > time -> 0
      _due when is_map_key(waiting.full, key) -> overdue(:gb_sets.next(next), waiting, time)
      _due -> 1 + overdue(:gb_sets.next(next), waiting, time)
    end
  end

  @doc "Takes the next batch of a key: its oldest items, with when the first of them came."
  @spec take(t, key) :: {[{seq, term}], since :: integer, t}
  def take(waiting, key) do
    {queue, size} = waiting.keys[key]
    {first, _empty} = head(queue)
    {_key, since, _payload} = waiting.items[first]
    {taken, queue, items} = take(queue, waiting.items, waiting.max, [])
    heads = :gb_sets.delete({first, key}, waiting.heads)

    {taken, since,
     put_back(%{waiting | items: items, heads: heads}, key, queue, size - length(taken))}
  end

  defp take(queue, items, 0, taken), do: {Enum.reverse(taken), queue, items}

  defp take(queue, items, left, taken) do
    with {{:value, seq}, queue} <- :queue.out(queue) do
      case Map.pop(items, seq) do
        {nil, items} -> take(queue, items, left, taken)
        {{_key, _since, payload}, items} -> take(queue, items, left - 1, [{seq, payload} | taken])
      end
    else
      {:empty, queue} -> {Enum.reverse(taken), queue, items}
    end
  end

  @doc "Takes an item out; `:error` where it does not wait."
  @spec delete(t, seq) :: {:ok, t} | :error
  def delete(waiting, seq) do
    case Map.pop(waiting.items, seq) do
      {nil, _items} ->
        :error

      {{key, _since, _payload}, items} ->
        {queue, size} = waiting.keys[key]
        {first, _queue} = head(queue)
        heads = :gb_sets.delete({first, key}, waiting.heads)
        {:ok, put_back(%{waiting | items: items, heads: heads}, key, queue, size - 1)}
    end
  end

  @doc "Takes all items out; gives their numbers, in order."
  @spec empty(t) :: {[seq], t}
  def empty(waiting), do: {waiting.items |> Map.keys() |> Enum.sort(), new(waiting.max)}

  # A key whose queue has changed, and that has no place among the heads now.
  defp put_back(waiting, key, _queue, 0),
    do: %{waiting | keys: Map.delete(waiting.keys, key), full: Map.delete(waiting.full, key)}

  defp put_back(waiting, key, queue, size) do
    queue = trim(queue, waiting.items)
    {first, _queue} = head(queue)
    heads = :gb_sets.add({first, key}, waiting.heads)
    fill(%{waiting | keys: Map.put(waiting.keys, key, {queue, size}), heads: heads}, key, size)
  end

  # The first of a queue is one that waits.
  defp trim(queue, items) do
    {first, rest} = head(queue)
    if is_map_key(items, first), do: queue, else: trim(rest, items)
  end

  defp head(queue), do: {:queue.head(queue), :queue.tail(queue)}

  defp fill(%__MODULE__{max: max} = waiting, key, size) when size >= max,
    do: %{waiting | full: Map.put(waiting.full, key, div(size, max))}

  defp fill(waiting, key, _size), do: %{waiting | full: Map.delete(waiting.full, key)}
end
