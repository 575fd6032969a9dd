defmodule Slither.Dashboard.Makers do
  @moduledoc false
  # Makes what viewers ask for, in a process that the dashboard's server starts for each.

  alias Slither.{Error, Json, Metrics, Watch}

  @typedoc "The body, or the status and the words of a refusal."
  @type made :: {:ok, binary} | {:error, {pos_integer, String.t()}}

  @doc "Makes it, and ends with it as the reason."
  @spec hand(term, map) :: no_return
  def hand(key, makers), do: exit({__MODULE__, make(key, makers)})

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

  defp stack(nil, pool, worker), do: Watch.stack(pool, worker)
  defp stack(made, pool, worker), do: made.(pool, worker)
end
