defmodule Slither.Driver.Run do
  @moduledoc false
  # The runs of a driver, as its server sees them: processes that are started with what the driver
  # asked for and told what it says afterwards. A run writes its outputs to the socket itself.
  # `MapRun` and `PipeRun` read here what they are told.

  alias Slither.Driver.Faults
  alias Slither.Label
  alias Slither.Protocol.Frame
  alias Slither.Python.Transport

  @typedoc "The frames of the driver's that are for a run."
  @type name :: :feed | :take | :end | :kill | :trace

  @doc """
  Starts a run of one of `kinds`, modules by name, and watches it. One of an unknown kind ends with
  the error that says so.
  """
  @spec start(%{String.t() => module}, String.t(), pos_integer, map, Transport.t()) ::
          {pid, reference}
  def start(kinds, kind, id, spec, port) do
    run = fn ->
      Label.set({__MODULE__, kind, id})

      case kinds do
        %{^kind => module} -> module.run(id, spec, port)
        _ -> raise Faults.unknown("run", kind, Map.keys(kinds))
      end
    end

    :proc_lib.spawn_opt(run, [:monitor, min_heap_size: 10_000])
  end

  @doc "Hands on a frame of the driver's; the run decodes it."
  @spec tell(pid, name, binary) :: term
  def tell(run, name, body), do: send(run, {__MODULE__, name, body})

  @doc "Reads a message to a run: a frame of the driver's, or `nil`."
  @spec read(term) :: {name, binary} | nil
  def read({__MODULE__, name, body}), do: {name, body}
  def read(_message), do: nil

  @doc "The trace of what is fed next, as its frame says."
  @spec trace(binary) :: String.t()
  def trace(body) do
    {:ok, {:trace, _id, _first, trace}} = Frame.decode(body)
    trace
  end

  @doc "Waits for the next frame of that name; whatever else comes stays in the mailbox."
  @spec await(name) :: binary
  def await(name) do
    receive do
      {__MODULE__, ^name, body} -> body
    end
  end
end
