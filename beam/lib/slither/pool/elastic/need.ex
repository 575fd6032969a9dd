defmodule Slither.Pool.Elastic.Need do
  @moduledoc false
  # What a pool knows of its need, whose size is a range, and how that has changed last. A part of the
  # scheduler's state; `Slither.Pool.Elastic` makes and reads it.

  alias Slither.Pool.Lanes

  defstruct since: nil, until: nil, looks?: false, idles?: false, seen: %{}, last: nil

  @type why :: :waited | :busy | :sessions | :idle | :start_failed | :resize
  @typedoc """
  Times are in monotonic ms. Calls wait without a pause `since` a time; if none does now, they did
  `until` another. `looks?` and `idles?` say that a look at who waits, or at who is idle, is to come.
  `seen` is what the last such look has found of each worker: how many calls it had taken, and since
  when it had no other. `last` is how the size changed last.
  """
  @type t :: %__MODULE__{
          since: integer | nil,
          until: integer | nil,
          looks?: boolean,
          idles?: boolean,
          seen: %{optional(Lanes.slot()) => {pid, taken :: non_neg_integer, since :: integer}},
          last: nil | %{from: pos_integer, to: pos_integer, why: why, at: integer | nil}
        }

  @doc """
  Why the size has changed, in words.

      iex> Slither.Pool.Elastic.Need.words(:idle)
      "those that leave had nothing to do"
  """
  @spec words(why) :: String.t()
  def words(:waited), do: "calls have waited for too long"
  def words(:busy), do: "calls wait all the time"
  def words(:sessions), do: "calls of sessions have waited for too long"
  def words(:idle), do: "those that leave had nothing to do"
  def words(:start_failed), do: "one could not start"
  def words(:resize), do: "it was resized"
end
