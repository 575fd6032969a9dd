defmodule Slither.Trace do
  @moduledoc """
  Traces: each call into Python is a span of its own, below the span of who asked for it.

  A trace context is that of W3C, a `traceparent` such as
  `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"`. A call gets it from, in this order,

    * `metadata: %{trace: traceparent}` of its dispatch or pipe;
    * `with_parent/2`, in the process that asks;
    * the current span of the library `:opentelemetry`, where that is loaded.

  In Python the handler's span is the current one of the package `opentelemetry`, where that is
  installed: spans that the handler makes are its children, also in threads and coroutines. Without
  anything to record them, a context goes through to Python as it is, in
  `slither.worker.context().trace`.

  ## Where spans go

  Those of BEAM go through the library `:opentelemetry`, where it is loaded. Else, and for those of
  workers which have no exporter of their own, give an endpoint that takes OTLP over HTTP:

      config :slither, trace: [endpoint: "http://localhost:4318"]

  Without a configuration the variables `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
  `OTEL_EXPORTER_OTLP_ENDPOINT` say where, with `OTEL_EXPORTER_OTLP_HEADERS` and
  `OTEL_SERVICE_NAME`; `trace: false` turns all of it off. Spans are sent in the background, as
  protobuf, by Erlang's own HTTP client (Debian: `apt install erlang-inets`; a release has `:inets`,
  and `:ssl` for https, among its `extra_applications`). What the receiver does not take in time is
  dropped: `max_queue` spans wait at most.

  #{Slither.Options.docs(Slither.Trace.Settings.table())}

  ## What is a span

  | span | kind | name | attributes |
  | --- | --- | --- | --- |
  | a call of a worker: a batch, a single call, the next values of a stream | CLIENT | `module.function` | `rpc.system.name` (`slither`), `rpc.method`, `slither.pool`, `slither.worker`, `slither.run`, `slither.pipe`, `slither.stage`, `slither.batch`, `slither.attempt`, `slither.items`, `slither.items.failed`, `error.type` |
  | the same in the worker | SERVER | `module.function` | the same, and `process.pid` |
  | `Slither.Pipe.push/3` | PRODUCER | `push PIPE` | `messaging.system` (`slither`), `messaging.operation.name`, `messaging.operation.type` (`send`), `messaging.destination.name`, `messaging.batch.message_count`, `error.type` |
  | a call with items that were pushed | CONSUMER | `process PIPE` | those of a call, and of a push with the type `process` |

  A CONSUMER has a link to each push that its items come from, and is a child of it where it is the
  only one; so is the call of a gather with those who have called it. A span begins when its batch
  begins to wait for a worker, and the SERVER span when that begins with it.

  `error.type` is the class of a Python exception, or the reason of the `Slither.Error`, such as
  `timeout` or `worker_died`. An event `exception` has the traceback; of a call whose worker was
  killed, BEAM ends the span, and the event has the stack of the worker.

  A context that is not sampled has no spans. Calls without a context have none either, unless
  `sample` says how many of them begin a trace.
  """

  alias Slither.Error
  alias Slither.Trace.{Exporter, Library, Mode, Recorder, Settings}

  @typedoc "A W3C `traceparent`."
  @type traceparent :: String.t()

  @doc """
  Runs `fun`: what it asks for in this process is below the span of `traceparent`; nil for none.

      iex> parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
      iex> Slither.Trace.with_parent(parent, fn -> Slither.Trace.current() end) == parent
      true
      iex> Slither.Trace.current()
      nil
  """
  @spec with_parent(traceparent | nil, (() -> result)) :: result when result: term
  def with_parent(traceparent, fun)
      when (is_binary(traceparent) or traceparent == nil) and is_function(fun, 0) do
    before = Recorder.enter(traceparent)

    try do
      fun.()
    after
      Recorder.enter(before)
    end
  end

  @doc "The context that calls get which are made here, nil for none."
  @spec current() :: traceparent | nil
  def current, do: Recorder.current()

  @doc """
  Sends all spans that wait, for at most `timeout` ms: `{:error, reason}` where they could not be
  sent, `:off` where nothing sends them.
  """
  @spec flush(timeout) :: :ok | {:error, term}
  def flush(timeout \\ 5_000), do: Exporter.flush(timeout)

  @doc false
  # What the application starts for it.
  @spec children() :: {:ok, [Supervisor.child_spec() | {module, keyword}]} | {:error, Error.t()}
  def children do
    library? = Library.look()
    configured = Application.get_env(:slither, :trace)

    case Settings.read(configured, library?) do
      {:ok, options} ->
        {:ok, [{Exporter, options}]}

      {:off, sample} ->
        Mode.set(if(library? and sample, do: %{to: :library, sample: sample}))
        {:ok, []}

      {:error, error} ->
        {:error, error}
    end
  end

  @doc false
  @spec options() :: Slither.Options.table()
  def options, do: Settings.table()

  @doc false
  # Has spans go where a Python program says, in place of what is configured.
  @spec configure(keyword | boolean | nil) :: :ok | {:error, Error.t()}
  def configure(nil), do: :ok

  def configure(configured) do
    case Settings.read(configured, false) do
      # The program has said it by an argument, and not in the configuration.
      {:error, error} ->
        {:error, %{error | where: "trace"}}

      {:off, _sample} ->
        stop()

      {:ok, options} ->
        stop()
        _ = Supervisor.start_child(Slither.Trace.Supervisor, {Exporter, options})
        :ok
    end
  end

  defp stop do
    with :ok <- Supervisor.terminate_child(Slither.Trace.Supervisor, Exporter),
         do: Supervisor.delete_child(Slither.Trace.Supervisor, Exporter)

    :ok
  end
end
