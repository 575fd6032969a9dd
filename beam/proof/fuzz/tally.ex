defmodule Slither.Proof.Fuzz.Tally do
  @moduledoc false
  # How many frames were taken and how many refused, and for what.

  defstruct taken: 0, refused: 0, reasons: %{}, broken: []

  @type t :: %__MODULE__{}

  @doc "Notes what came of a frame."
  @spec add(t, :taken | {:refused, String.t()}) :: t
  def add(tally, :taken), do: %{tally | taken: tally.taken + 1}

  def add(tally, {:refused, reason}) do
    reasons = Map.update(tally.reasons, reason, 1, &(&1 + 1))
    %{tally | refused: tally.refused + 1, reasons: reasons}
  end

  @doc "Notes a frame that broke something."
  @spec broken(t, binary, String.t()) :: t
  def broken(tally, body, why) do
    frame = Base.encode16(binary_part(body, 0, min(byte_size(body), 200)), case: :lower)
    %{tally | broken: ["#{frame}: #{why}" | tally.broken]}
  end

  @doc "Runs `fun`, which returns what came of a frame and a state; what it raises is noted."
  @spec guard(t, binary, state, (() -> {:taken | {:refused, String.t()}, state})) :: {t, state}
        when state: term
  def guard(tally, body, state, fun) do
    {came, state} = fun.()
    {add(tally, came), state}
  catch
    kind, reason ->
      {broken(tally, body, Exception.format(kind, reason, __STACKTRACE__)), state}
  end

  @doc "In words, with the most frequent reasons."
  @spec words(t) :: String.t()
  def words(tally) do
    top = tally.reasons |> Enum.sort_by(&(-elem(&1, 1))) |> Enum.take(8)

    shown =
      for {reason, count} <- top, do: "\n#{String.pad_leading(to_string(count), 32)} #{reason}"

    kinds = map_size(tally.reasons)
    "#{tally.taken} taken, #{tally.refused} refused for #{kinds} kinds of reasons#{shown}"
  end
end
