defmodule Slither.Pipe do
  @moduledoc """
  A language for flows of BEAM stages, Python stages and routing.

      defmodule MyApp.ScorePipe do
        use Slither.Pipe

        pipe :score do
          store :features, MyApp.FeatureStore

          stage :prepare, :beam, handler: fn item, _context -> %{"text" => item.payload} end

          stage :predict, :python,
            module: "my_model",
            function: "predict_batch",
            batch_size: 32,
            max_in_flight: 4

          stage :route, :router,
            routes: [{fn item -> item.payload["score"] >= 0.8 end, :accept}]

          output :accept

          on_error :predict, :skip
          on_error :*, :halt
        end
      end

      {:ok, outputs} = Slither.run_pipe(MyApp.ScorePipe, ["first", "second"])

  Items go through the stages in order. A routed item leaves the pipe at that point; what no
  route takes flows on and ends in `:default`. Mistakes (an unknown stage, option or output,
  something twice) are compile errors that name the line.

  Stage types: `:beam` (`Slither.Stage.Beam`), `:python` (`Slither.Stage.Python`), `:router`
  (`Slither.Stage.Router`), or a module that implements `Slither.Stage`.

  Error policies, by stage or for all with `:*`: `:halt` (the default), `:skip` (dropped, and
  counted), `{:route, output}` (sent there, with the error in `meta`) and `{:retry, options}`
  (see `Slither.Dispatch`).

  ## Long-running pipes

  `Slither.run_pipe/3` runs an input to its end. A long-running pipe takes items as they come,
  from any process, and gives what reaches an output to a function:

      children = [
        {Slither.Python.Pool, name: :default},
        {Slither.Pipe, {MyApp.ScorePipe, sinks: [accept: &MyApp.accepted/1]}}
      ]

      :ok = Slither.Pipe.push(MyApp.ScorePipe, ["first", "second"])
      :ok = Slither.Pipe.drain(MyApp.ScorePipe)
      {:ok, %{counts: counts}} = Slither.Pipe.status(MyApp.ScorePipe)

  See `start_link/2`, `push/3`, `drain/2`, `status/1` and `stop/2`. `Slither.Pipe.Supervisor`
  has a place for pipes that have no other.

  ## Pipes from Python

  A pipe may also be written in Python; see `from_python/3` and the guide to pipes.
  """

  alias Slither.Pipe.{Builder, Definition, DSL, Instance, Library, Runner, Statement}

  # The macros of statements raise whenever they run: a pipe block reads its statements itself.
  @dialyzer :no_return

  @doc false
  defmacro __using__(_options) do
    quote do
      import Slither.Pipe, only: [pipe: 2]
      @after_compile Slither.Pipe
    end
  end

  @doc """
  Declares the module's pipe: `stage`, `store`, `output` and `on_error` statements.
  """
  defmacro pipe(name, do: block) do
    if Module.get_attribute(__CALLER__.module, :slither_pipe) do
      DSL.compile_error(__CALLER__, __CALLER__.line, "a module has one pipe")
    end

    Module.put_attribute(__CALLER__.module, :slither_pipe, true)

    statements = DSL.statements(block, __CALLER__)

    quote do
      @doc false
      def __pipe_statements__, do: {unquote(name), unquote(statements)}

      @doc "The pipe as data, a `Slither.Pipe.Definition`."
      @spec __pipe_definition__() :: Slither.Pipe.Definition.t()
      def __pipe_definition__ do
        {name, statements} = __pipe_statements__()
        Slither.Pipe.build!(name, statements)
      end
    end
  end

  @doc """
  A step of the pipe: its name, its type and its options.
  """
  defmacro stage(_name, _type, _options \\ []), do: DSL.outside(__CALLER__, :stage)

  @doc "Names a store that the pipe's handlers find in `context.stores`."
  defmacro store(_name, _module), do: DSL.outside(__CALLER__, :store)

  @doc "Declares an output. `:default` is always there."
  defmacro output(_name), do: DSL.outside(__CALLER__, :output)

  @doc "What becomes of items that fail in a stage, or with `:*` in any other."
  defmacro on_error(_stage, _policy), do: DSL.outside(__CALLER__, :on_error)

  ## Pipes from Python

  @doc """
  Takes the pipes of a Python module, so that they run under their names.

      {:ok, ["score"]} = Slither.Pipe.from_python(:default, "my_pipes")
      {:ok, outputs} = Slither.run_pipe("score", ["first", "second"])
      outputs["accept"]

  A worker of `pool` imports the module in an interpreter of its own, made for this call, so that
  it sees the files as they are now; every public `slither.Pipe` of the module counts. Called
  again, it replaces what the module had before. Runs that have begun go on as they are. The
  stages run on the same pool; a handler's new code comes into service with
  `Slither.Python.Pool.restart/1`.

  ## Options

  #{Library.docs()}

  Returns the pipes' names, or `{:error, error}`, and then nothing has changed: a `Slither.Error`
  with the traceback where the module can't be imported, with the path into the document where a
  definition is wrong (`:invalid_document`), `:no_pipes`, or `:duplicate` where another module has
  another pipe of that name.
  """
  @spec from_python(Slither.Python.Pool.name(), String.t(), keyword) ::
          {:ok, [String.t()]} | {:error, Slither.Error.t()}
  def from_python(pool, module, options \\ []), do: Library.from_python(pool, module, options)

  ## Long-running pipes

  @typedoc "A long-running pipe: its name, or the pid that `start_link/2` gave."
  @type running :: term

  @typedoc "What became of an item that was pushed with `ack:`; see `push/3`."
  @type outcome ::
          :ok
          | {:skipped, reason :: term}
          | {:routed, Definition.name(), Exception.t()}
          | {:failed, Exception.t()}
          | :lost

  @doc """
  Starts a long-running pipe: takes its module (or definition) and options.

  #{Instance.docs()}

  Returns `{:ok, pid}`, the pid being the pipe's supervisor, or `{:error, error}`: a
  `Slither.Error` for options, outputs and names, a `Slither.PipeError` for a stage that can't
  be used, as when its pool is not running, or `{:already_started, pid}`.

  A sink runs in the pipe's own sink process, one item at a time, in order; while it is slow,
  the pipe fills up and pushes wait. One that raises is logged and counted (`sink_errors`), and
  its item counts as delivered. What reaches an output without a sink is counted there.

  `on_error` works as in a run. `:halt` stops the pipe: what was ahead of the failed item is
  delivered, what was behind it in the stages has `failed`, what waited at the entry is `lost`,
  and the pipe starts again. With `max_restarts` used up in `max_seconds`, it ends for good.
  """
  @spec start_link(Runner.pipe(), keyword) ::
          {:ok, pid} | {:error, Exception.t() | {:already_started, pid} | term}
  def start_link(pipe, options \\ []), do: Instance.start_link(pipe, options)

  @doc """
  A child specification of `{pipe, options}` or `pipe`, so that it can stand under any supervisor.
  """
  @spec child_spec({Runner.pipe(), keyword} | Runner.pipe()) :: Supervisor.child_spec()
  def child_spec({pipe, options}), do: Instance.child_spec({pipe, options})
  def child_spec(pipe), do: Instance.child_spec({pipe, []})

  @doc """
  Gives a list of payloads or `Slither.Item`s to a pipe; waits while it is full.

  `timeout:` is how long, in ms (`:infinity` unless set); with 0 it does not wait at all.

    * `:ok`: the pipe has taken them all, and each will end in exactly one outcome or be
      reported as lost;
    * `{:error, :saturated}`: there is no room now (`timeout: 0`);
    * `{:error, :timeout}`: there was none within the time;
    * `{:error, :draining}`: a drain is going on;
    * `{:error, error}`: the pipe is not running, has stopped or crashed meanwhile, or can
      never take so many at once (`max_waiting`).

  After any error, none of the items was taken. Pushes that wait are served in turn.

  With `ack: term` (any but `nil`), messages `{Slither.Pipe, :ack, term, [{index, outcome}]}` tell the
  calling process what became of each item, by its index in the list, from 0; with `ack: {pid, term}`
  they go to that process. Each item is told of once, when it has ended:

    * `:ok`: it reached an output, and that output's sink has run;
    * `{:skipped, reason}`: a handler dropped it, or a policy did, and the reason is the error;
    * `{:routed, output, error}`: it failed, and a policy sent it to an output, whose sink has run;
    * `{:failed, error}`: its sink raised (`:sink_failed`), or a failure halted the pipe while it
      was in a stage;
    * `:lost`: the pipe stopped or crashed, or a pool of its stages did.

  An item that became several has ended when all of them have, with the worst of their outcomes:
  failed, then routed, then skipped by a policy, then ok, then dropped by a handler. Items that a
  `:batch` stage made one share the outcome of that one.

      :ok = Slither.Pipe.push(MyApp.ScorePipe, [%{"text" => "hello"}])
      {:error, :saturated} = Slither.Pipe.push(MyApp.ScorePipe, many, timeout: 0)

      :ok = Slither.Pipe.push(MyApp.ScorePipe, [%{"text" => "hello"}], ack: :greeting)
      receive do: ({Slither.Pipe, :ack, :greeting, [{0, outcome}]} -> outcome)

  A sink that pushes to its own pipe waits for itself where the pipe is full.
  """
  @spec push(running, [term], keyword) ::
          :ok | {:error, :saturated | :timeout | :draining | Exception.t()}
  def push(pipe, items, options \\ []), do: Instance.push(pipe, items, options)

  @doc """
  Waits until all that is in the pipe has reached its end and its sink; refuses pushes meanwhile.

  Then the pipe goes on. After `timeout` ms it is `{:error, :timeout}`, and the pipe goes on as
  well; `{:error, error}` when it is not running, or stops.

      :ok = Slither.Pipe.drain(MyApp.ScorePipe, 60_000)
  """
  @spec drain(running, timeout) :: :ok | {:error, :timeout | Exception.t()}
  def drain(pipe, timeout \\ :infinity), do: Instance.drain(pipe, timeout)

  @doc """
  What a pipe does now, as `{:ok, map}`, or `{:error, error}` when it is not running:

    * `state`: `:running`, `:draining`, `:stopping`, or `:waiting_for_pool` with its `error`;
    * `counts`: since it was first started, restarts included, `in`, `expanded`, `out`,
      `skipped`, `routed` (by an error policy), `failed`, `lost`, `inside` and `sink_errors`;
      `in + expanded = out + skipped + routed + failed + lost + inside`;
    * `outputs`: how many items have reached each;
    * `rates`: items per second, `in` and `out`, over about the last ten seconds;
    * `restarts`: how often it has started again;
    * `waiting`: items at the entry; `blocked`: pushes that wait for room; `delivering`: items
      on their way to the sinks;
    * `stages`: each with `name`, `type`, its counts since the last restart, and `waiting`: how
      many items are `batching` (in a batch that is not full), `queued`, `running`, `retrying`
      (waiting for their next attempt) and `finished` (waiting for their turn or for room); and where
      its time went, as a `Slither.Receipt` has it: `times`, the `shares` that these have of their sum,
      and `p50` and `p95` of its handler.

  It is answered between two calls of the pipe's BEAM handlers.
  """
  @spec status(running) :: {:ok, map} | {:error, Exception.t()}
  def status(pipe), do: Instance.status(pipe)

  @doc """
  Stops a pipe for good, once it has drained or `timeout` ms have passed (5,000 unless given).

  Returns its last `counts`, as in `status/1`; what was inside is `lost`.
  """
  @spec stop(running, timeout) :: {:ok, map} | {:error, Exception.t()}
  def stop(pipe, timeout \\ 5_000), do: Instance.stop(pipe, timeout)

  @doc false
  @spec __after_compile__(Macro.Env.t(), binary) :: :ok
  def __after_compile__(env, _bytecode), do: DSL.check(env)

  @doc false
  @spec build!(Definition.name(), [Statement.written()]) :: Definition.t()
  def build!(name, statements) do
    case Builder.build(name, statements) do
      {:ok, definition} -> definition
      {:error, _line, error} -> raise error
    end
  end
end
