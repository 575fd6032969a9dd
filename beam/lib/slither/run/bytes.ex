defmodule Slither.Run.Bytes do
  @moduledoc false
  # What results will take that are still to come, by what those before took: so that a bound of bytes
  # holds for results, too, which nobody can measure before they are there. Pure; of a flow.

  @typedoc "Bytes of the result of an item, to be expected; 0 while none has come."
  @type t :: number

  @doc """
  After so many results of so many bytes. What is large is known at once, and forgotten slowly.

      iex> 0 |> Slither.Run.Bytes.seen(10, 1_000) |> Slither.Run.Bytes.seen(1, 50)
      75.0
  """
  @spec seen(t, non_neg_integer, non_neg_integer) :: t
  def seen(known, 0, _bytes), do: known
  def seen(known, count, bytes), do: max(bytes / count, (known + bytes / count) / 2)

  @doc "Bytes of the results of items that wait, are out, or are tried again."
  @spec expected(t, %{atom => non_neg_integer}) :: number
  def expected(each, %{queued: queued, running: running, retrying: retrying}),
    do: each * (queued + running + retrying)
end
