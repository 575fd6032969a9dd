defmodule Slither.Proof.Peak do
  @moduledoc false
  # The most memory that BEAM and a run's OS processes took while the run went on.

  alias Slither.Proof.Processes

  @doc "Begins to look every `every` ms, also at the processes of `token` if there is one."
  @spec start(String.t() | nil, pos_integer) :: pid
  def start(token, every \\ 200),
    do: spawn_link(fn -> loop(token, every, %{beam: 0, workers: 0}) end)

  @doc "Ends it; the peaks in bytes."
  @spec stop(pid) :: %{beam: non_neg_integer, workers: non_neg_integer}
  def stop(peak) do
    send(peak, {:stop, self()})
    receive do: ({^peak, found} -> found)
  end

  defp loop(token, every, found) do
    found = %{
      beam: max(found.beam, :erlang.memory(:total)),
      workers: max(found.workers, workers(token))
    }

    receive do
      {:stop, from} -> send(from, {self(), found})
    after
      every -> loop(token, every, found)
    end
  end

  defp workers(nil), do: 0
  defp workers(token), do: token |> Processes.of() |> Enum.map(&Processes.rss/1) |> Enum.sum()
end
