defmodule Slither.Driver.Run do
  @moduledoc false
  # The runs of a driver, as its server sees them: processes that are started with what the driver
  # asked for and told what it says afterwards. A run writes its outputs to the socket itself.

  alias Slither.Driver.{Faults, MapRun, PipeRun}
  alias Slither.Python.Transport

  @kinds %{"map" => MapRun, "pipe" => PipeRun}

  @doc "Starts a run and watches it; one of an unknown kind ends with the error that says so."
  @spec start(String.t(), pos_integer, map, Transport.t()) :: {pid, reference}
  def start(kind, id, spec, port) do
    run = fn ->
      case @kinds do
        %{^kind => module} -> module.run(id, spec, port)
        _ -> raise Faults.unknown("run", kind, Map.keys(@kinds))
      end
    end

    :proc_lib.spawn_opt(run, [:monitor, min_heap_size: 10_000])
  end

  @doc "Hands on a frame of the driver's; the run decodes it."
  @spec tell(pid, :feed | :take | :end | :kill, binary) :: term
  def tell(run, name, body), do: send(run, {name, body})
end
