defmodule Slither.Driver.Done do
  @moduledoc false
  # The last frame of a run: its receipt as a driver reads it, and the error that ended it. Each
  # run makes its own; the server makes it for a run that crashed.

  alias Slither.Driver.Faults
  alias Slither.Protocol.Frame
  alias Slither.Receipt

  @doc "The frame; a run that never began has no receipt."
  @spec frame(pos_integer, Receipt.t() | nil, Exception.t() | nil) :: iodata
  def frame(id, receipt, error) do
    receipt = if receipt, do: receipt(receipt), else: %{}
    Frame.encode!({:done, id, receipt, if(error, do: Faults.to_wire(error))})
  end

  @doc "A receipt with names as strings, and times in microseconds."
  @spec receipt(Receipt.t()) :: map
  def receipt(%Receipt{} = receipt) do
    times = Map.new(receipt.times, fn {name, time} -> {Atom.to_string(name), micros(time)} end)
    stages = for {name, stage} <- receipt.stages, do: [to_string(name), receipt(stage)]

    receipt
    |> Map.from_struct()
    |> Map.new(fn {name, value} -> {Atom.to_string(name), value} end)
    |> Map.merge(%{"times" => times, "stages" => stages, "duration" => micros(receipt.duration)})
  end

  defp micros(time), do: System.convert_time_unit(time, :native, :microsecond)
end
