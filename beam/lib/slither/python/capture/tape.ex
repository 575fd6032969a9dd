defmodule Slither.Python.Capture.Tape do
  @moduledoc false
  # What the calls of a worker asked and were answered, where their failure is to be written. Pure;
  # `Slither.Python.Asks` holds it.

  alias Slither.Python.Capture

  defstruct left: 0, exchanges: [], cut: false

  @type t :: %__MODULE__{}
  @type tapes :: %{optional(pos_integer) => t}

  @doc "Begins one for a call, of so many bytes at most."
  @spec begin(tapes, pos_integer, non_neg_integer) :: tapes
  def begin(tapes, call, most), do: Map.put(tapes, call, %__MODULE__{left: most})

  @doc "Records a question of a call, and its answer."
  @spec record(tapes, pos_integer, Capture.exchange()) :: tapes
  def record(tapes, call, {question, answer} = exchange) do
    size = byte_size(question) + byte_size(answer)

    case tapes do
      %{^call => %{cut: false, left: left} = tape} when size <= left ->
        tape = %{tape | left: left - size, exchanges: [exchange | tape.exchanges]}
        %{tapes | call => tape}

      %{^call => tape} ->
        %{tapes | call => %{tape | cut: true}}

      _over ->
        tapes
    end
  end

  @doc "The exchanges in order, and whether there were more."
  @spec play(t) :: {[Capture.exchange()], boolean}
  def play(tape), do: {Enum.reverse(tape.exchanges), tape.cut}
end
