defmodule Slither.Driver.ValuesRun do
  @moduledoc false
  # One call of a Python program that gives values one by one: the loop of the run's own process,
  # which the server starts and sends the driver's frames. It draws when the driver asks, and at no
  # other time; where the driver cancels it, its process ends, and with it the call.

  alias Slither.Driver.{Done, Options, Run}
  alias Slither.Pool.Draw
  alias Slither.Protocol.{Encoder, Frame}
  alias Slither.Python.{Pool, Transport}

  @doc "Runs until the values have ended; the last frame is `done`."
  @spec run(pos_integer, map, Transport.t()) :: boolean
  def run(id, spec, port) do
    with {:ok, target, payload, options} <- Options.values(spec),
         {:ok, handle} <- Pool.handle(:default) do
      loop({id, port}, Draw.open(handle, target, payload, options), 0, 0)
    else
      {:error, error} -> Transport.write(port, Done.frame(id, nil, error))
    end
  end

  # `first` is the number of the next value, and `credit` how many the driver asked for. Values come
  # in chunks: one is given whole.
  defp loop(driver, draw, first, credit) when credit <= 0 do
    {:ok, {:take, _id, count}} = Frame.decode(Run.await(:take))
    loop(driver, draw, first, count)
  end

  defp loop({id, port} = driver, draw, first, credit) do
    case Draw.next(draw) do
      {:values, values, draw} ->
        count = length(values)
        encoded = Enum.map(values, &Encoder.encode!/1)
        Transport.write(port, Frame.outputs(id, nil, first, count, encoded, nil))
        loop(driver, draw, first + count, credit - count)

      {:ended, draw} ->
        finish(driver, draw, nil)

      {:error, error, draw} ->
        finish(driver, draw, error)
    end
  end

  defp finish({id, port}, draw, error) do
    Draw.close(draw)
    Transport.write(port, Done.frame(id, nil, error))
  end
end
