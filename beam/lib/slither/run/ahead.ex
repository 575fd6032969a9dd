defmodule Slither.Run.Ahead do
  @moduledoc false
  # Entries in their order that are in no batch yet. A batcher whose sizes are found holds some, so
  # that it knows how many there are for all workers before it makes a batch for one. Pure.

  defstruct front: [], back: [], count: 0

  @type t :: %__MODULE__{front: [entry], back: [[entry]], count: non_neg_integer}
  @type entry :: term

  @doc "Puts entries behind the others."
  @spec put(t, [entry]) :: t
  def put(ahead, []), do: ahead
  def put(%__MODULE__{count: 0}, entries), do: %__MODULE__{front: entries, count: length(entries)}

  def put(ahead, entries),
    do: %{ahead | back: [entries | ahead.back], count: ahead.count + length(entries)}

  @doc "Takes the first entries, as many of `count` as there are."
  @spec take(t, non_neg_integer) :: {[entry], t}
  def take(%__MODULE__{back: []} = ahead, count) do
    {taken, front} = Enum.split(ahead.front, count)
    {taken, %{ahead | front: front, count: max(0, ahead.count - count)}}
  end

  def take(ahead, count) do
    case Enum.split(ahead.front, count) do
      {taken, [_ | _] = front} ->
        {taken, %{ahead | front: front, count: ahead.count - count}}

      {_short, []} ->
        front = Enum.concat([ahead.front | Enum.reverse(ahead.back)])
        take(%{ahead | front: front, back: []}, count)
    end
  end
end
