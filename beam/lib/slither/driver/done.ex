defmodule Slither.Driver.Done do
  @moduledoc false
  # The last frame of a run: its receipt as a driver reads it, and the error that ended it. Each
  # run makes its own; the server makes it for a run that crashed.

  alias Slither.Driver.Faults
  alias Slither.Protocol.Frame
  alias Slither.Receipt
  alias Slither.Receipt.Bottleneck

  @doc "The frame; a run that never began has no receipt."
  @spec frame(pos_integer, Receipt.t() | nil, Exception.t() | nil) :: iodata
  def frame(id, receipt, error) do
    receipt = if receipt, do: receipt(receipt), else: %{}
    Frame.encode!({:done, id, receipt, if(error, do: Faults.to_wire(error))})
  end

  @doc "A receipt with names as strings, times in microseconds, and what held the run up."
  @spec receipt(Receipt.t()) :: map
  def receipt(%Receipt{} = receipt),
    do: Map.put(account(receipt), "bottleneck", bottleneck(Bottleneck.of(receipt)))

  # A driver says it in its own words.
  defp bottleneck(nil), do: nil

  defp bottleneck(%Bottleneck{} = bottleneck) do
    %{
      "what" => Atom.to_string(bottleneck.what),
      "stage" => name(bottleneck.stage),
      "share" => bottleneck.share,
      "waits" => bottleneck.waits
    }
  end

  defp name(nil), do: nil
  defp name(name), do: to_string(name)

  defp account(receipt) do
    times = Map.new(receipt.times, fn {name, time} -> {Atom.to_string(name), micros(time)} end)
    stages = for {name, stage} <- receipt.stages, do: [to_string(name), account(stage)]

    receipt
    |> Map.from_struct()
    |> Map.new(fn {name, value} -> {Atom.to_string(name), value} end)
    |> Map.merge(%{
      "name" => name(receipt.name),
      "times" => times,
      "stages" => stages,
      "duration" => micros(receipt.duration),
      "p50" => micros(receipt.p50),
      "p95" => micros(receipt.p95)
    })
  end

  defp micros(nil), do: nil
  defp micros(time), do: System.convert_time_unit(time, :native, :microsecond)
end
