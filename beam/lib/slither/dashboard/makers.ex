defmodule Slither.Dashboard.Makers do
  @moduledoc false
  # Makes what viewers ask for, in a process that the dashboard's server starts for each.

  alias Slither.{Error, Json, Metrics, Watch}
  alias Slither.Python.Pool

  @typedoc "The body, or the status and the words of a refusal."
  @type made :: {:ok, binary} | {:error, {pos_integer, String.t()}}

  @doc "Makes it; what raises is told to who asked, and costs nobody else."
  @spec make(term, map) :: made
  def make(key, makers) do
    made(key, makers)
  catch
    kind, reason ->
      {:error, {500, "This could not be told: #{Exception.format_banner(kind, reason)}"}}
  end

  defp made(:snapshot, makers), do: {:ok, json(snapshot(makers.snapshot))}
  defp made(:metrics, makers), do: {:ok, IO.iodata_to_binary(metrics(makers.metrics))}

  defp made({:stack, pool, worker}, makers) do
    case stack(makers.stack, pool, worker) do
      {:ok, stack} -> {:ok, json(stack)}
      {:error, %Error{} = error} -> {:error, {404, Exception.message(error)}}
    end
  end

  defp json(term), do: term |> Json.encode() |> IO.iodata_to_binary()

  defp snapshot(nil), do: Watch.snapshot()
  defp snapshot(made), do: made.()

  defp metrics(nil), do: Metrics.text()
  defp metrics(made), do: made.()

  defp stack(nil, pool, worker), do: stack(&stack_of/2, pool, worker)
  defp stack(made, pool, worker), do: made.(pool, worker)

  # A name that came in an address becomes no atom.
  defp stack_of(pool, worker) do
    with {:ok, name} <- known(pool),
         {:ok, workers} <- Pool.stacks(name) do
      case Enum.find(workers, &(&1.worker == worker)) do
        nil -> none("pool #{pool} has no worker #{worker} now")
        stack -> {:ok, stack}
      end
    end
  end

  defp known(pool) do
    names = for {name, _handle} <- Pool.all(), do: name

    case Enum.find(names, &(pool in [inspect(&1), Atom.to_string(&1)])) do
      nil -> none("no pool #{pool} runs")
      name -> {:ok, name}
    end
  end

  defp none(message), do: {:error, %Error{reason: :unknown_worker, message: message}}
end
