defmodule Slither.Python.Pool do
  alias Slither.Python.Capture

  @options [
    name: [type: :atom, required: true, doc: "The pool's name."],
    size: [type: :pos_integer, default: 2, doc: "Workers, each one OS process."],
    spare: [
      type: :non_neg_integer,
      default: 0,
      doc:
        "Workers beyond `size` that have started and wait: one takes the place of a worker that " <>
          "dies at once."
    ],
    python: [
      type: {:or, [:string, Slither.Python.Env.type(), {:in, [nil]}]},
      default: nil,
      doc:
        "The interpreter, or a file of packages to make one with (see `Slither.Python.Env`); " <>
          "`nil` takes the project's `.venv`, else `python3`."
    ],
    preload: [
      type: {:list, :string},
      default: [],
      doc: "Modules to import when a worker starts; handlers register themselves so."
    ],
    paths: [type: {:list, :string}, default: [], doc: "Folders to add to `sys.path`."],
    env: [
      type: {:or, [:keyword, {:list, :any}, :map]},
      default: [],
      doc: "Environment variables; `nil` removes one."
    ],
    main: [
      type: {:or, [:string, {:in, [nil]}]},
      default: nil,
      doc:
        "The script (its absolute path), or the module, whose functions go by the module " <>
          "`__main__`; run when one is called."
    ],
    argv: [
      type: {:list, :any},
      default: [],
      doc: "`sys.argv` of the workers, strings or `Slither.Bytes`; empty leaves it as it is."
    ],
    initializer: [
      type: {:or, [{:list, :any}, {:in, [nil]}]},
      default: nil,
      doc:
        "A function to call when a worker starts, after the preload: a list of its module, its " <>
          "name and a list of its arguments."
    ],
    cd: [type: {:or, [:string, {:in, [nil]}]}, default: nil, doc: "The workers' folder."],
    window: [
      type: :pos_integer,
      default: 4,
      doc:
        "Calls a worker may hold, so that it does not wait for BEAM between them; more than one " <>
          "only while those it has take less than 5 ms together."
    ],
    max_queue: [
      type: :pos_integer,
      default: 10_000,
      doc: "Calls that may wait for a worker; beyond it they are `:saturated`."
    ],
    max_frame: [
      type: :pos_integer,
      default: 268_435_456,
      doc: "Bytes that one call or one answer may take."
    ],
    startup_timeout: [
      type: :timeout,
      default: 60_000,
      doc: "ms a worker may take to start, imports included."
    ],
    max_requests: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      default: nil,
      doc: "Calls after which a worker is replaced, up to a tenth sooner. It goes on until then."
    ],
    max_calls: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      default: nil,
      doc:
        "Calls that a worker takes and no more: it ends then, and another starts in its place " <>
          "(`spare` has one ready). Calls of a session go on where its state is."
    ],
    max_rss: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      default: nil,
      doc:
        "Bytes of memory beyond which a worker is replaced, looked at between calls. More than " <>
          "one that has just started takes."
    ],
    max_age: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      default: nil,
      doc: "ms after which a worker is replaced, up to a tenth sooner."
    ],
    cancel_grace: [
      type: :pos_integer,
      default: 5_000,
      doc:
        "ms a call may go on after its caller is gone (`slither.worker.cancelled()` tells it); " <>
          "then its worker is killed."
    ],
    session_idle: [
      type: :timeout,
      default: 3_600_000,
      doc: "ms a session may go without a call; then it ends, a tenth of that time later at most."
    ],
    shutdown: [
      type: :pos_integer,
      default: 5_000,
      doc: "ms a stopping worker may take, its `@on_stop` hooks included; then it is killed."
    ],
    capture: [
      type: :boolean,
      default: true,
      doc: "Whether what handlers print goes to Logger; `false` leaves it on the terminal."
    ],
    log_level: [
      type: {:in, [:debug, :info, :warning, :error, :critical, :none]},
      default: :info,
      doc:
        "The least that workers send to Logger of what they log and print (`print` is `:info`, " <>
          "standard error `:warning`); it costs nothing below."
    ],
    capture_failures: [
      type: {:custom, Capture.accepted(), &Capture.valid?/1},
      default: nil,
      doc:
        "The folder where batches that fail in Python are written, each to a file that " <>
          "`python -m slither.replay` runs again; or `[dir: …, max_files: 100, max_bytes: " <>
          "268_435_456]`: beyond these, the oldest go. Files hold the items: only the owner may " <>
          "read them."
    ]
  ]

  @moduledoc """
  A named pool of Python workers.

  Pools are started from configuration:

      config :slither, pools: [default: [size: 2], gpu: [size: 1, preload: ["my_model"]]]

  or under a supervisor of yours: `{Slither.Python.Pool, name: :scoring, size: 4}`.

  A pool never blocks the start of your application: its workers start in parallel, and the
  first call waits for the first of them. A pool whose workers can't start answers each call
  with the reason, and tries again with growing pauses. A worker that dies is replaced at once,
  and one that reaches a limit once its replacement is ready.

  ## Options

  #{Slither.Options.docs(@options)}
  """

  use Supervisor

  # ms that a scheduler, which never waits itself, may take for an answer.
  @answer 5_000

  alias Slither.{Error, Options}
  alias Slither.Pool.Errors
  alias Slither.Pool.{Call, Scheduler, Status}
  alias Slither.Python.Board
  alias Slither.Python.Launcher.Spawn

  @type name :: atom
  @type handle :: %{
          scheduler: pid,
          settings: map
        }

  @doc false
  @spec options() :: Options.table()
  def options, do: @options

  @doc "Checks a pool's options; `{:error, error}` names the option at fault."
  @spec check(keyword) :: {:ok, keyword} | {:error, Error.t()}
  def check(options) do
    name = if Keyword.keyword?(options), do: options[:name]

    with {:ok, checked} <- Options.validate(options, @options, "pool #{inspect(name)}"),
         :ok <- few(name, checked[:size], checked[:spare]),
         do: {:ok, checked}
  end

  defp few(name, size, spare) do
    if size + spare > Board.most(),
      do: {:error, Errors.too_many(name, size + spare, Board.most())},
      else: :ok
  end

  @doc "A child specification, so that pools can stand under any supervisor."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: {__MODULE__, options[:name]},
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc "Starts a pool. Returns `{:error, error}` for options it can't use."
  @spec start_link(keyword) :: Supervisor.on_start() | {:error, Error.t()}
  def start_link(options) do
    with {:ok, checked} <- check(options) do
      # The view server is named in the application's environment, since what answers views
      # stands above the pools.
      views = Application.fetch_env!(:slither, :view_server)
      [workers, tasks] = for kind <- [:workers, :tasks], do: via(kind, checked[:name])
      own = %{bridge: views, launcher: Spawn, workers: workers, tasks: tasks}
      settings = checked |> Map.new() |> Map.merge(own)
      settings = Map.update!(settings, :capture_failures, &Capture.new/1)
      Supervisor.start_link(__MODULE__, settings)
    end
  end

  defp via(kind, name), do: {:via, Registry, {Slither.Python.Registry, {kind, name}}}

  @impl true
  def init(settings) do
    # The ids of sessions outlive the scheduler: should it fail, they are known to be lost.
    sessions = :ets.new(__MODULE__, [:public])
    settings = Map.put(settings, :sessions, sessions)

    children = [
      {Task.Supervisor, name: settings.tasks},
      {DynamicSupervisor, name: settings.workers, strategy: :one_for_one},
      {Scheduler, settings}
    ]

    Supervisor.init(children, strategy: :one_for_all)
  end

  @doc """
  What the pool does now.

  A map of `name`, `size` and `spare`, `queue` (calls that wait), `started` and `died` (workers
  so far; those that were told to stop are not counted as died), `error` (why none can start)
  and `workers`, each a map of

    * `worker`: its number, which another gets when it is gone;
    * `status`: `:starting`, `:spare` (it waits to take a place), `:ready`, `:draining` (another
      has its place; it finishes what it has) or `:stopping`;
    * `os_pid`, and `rss` in bytes (nil where it can't be told);
    * `calls` that it holds, `served` calls that it has answered, and `sessions`;
    * `age` in ms since it was ready.
  """
  @spec status(name) :: {:ok, map} | {:error, Error.t()}
  def status(name) do
    with {:ok, status} <- ask(name, :status), do: {:ok, Status.with_rss(status)}
  end

  @doc """
  Waits until a worker is ready, for at most `timeout` ms.

  Returns the reason when the pool's workers can't start.
  """
  @spec await_ready(name, timeout) :: :ok | {:error, Error.t()}
  def await_ready(name, timeout \\ 60_000) do
    # The scheduler says when the time is over; it may be about to look for the interpreter.
    limit = if is_integer(timeout), do: timeout + @answer, else: timeout

    case ask(name, {:await_ready, timeout}, limit) do
      {:ok, answer} -> answer
      {:error, error} -> {:error, error}
    end
  end

  @doc false
  # The scheduler's answer to a question; or why there is none.
  @spec ask(name, term, timeout) :: {:ok, term} | {:error, Error.t()}
  def ask(name, question, timeout \\ @answer) do
    with {:ok, handle} <- handle(name),
         do: {:ok, GenServer.call(handle.scheduler, question, timeout)}
  catch
    :exit, {:timeout, {GenServer, :call, _arguments}} -> {:error, Errors.busy(name, timeout)}
    :exit, {reason, {GenServer, :call, _arguments}} -> {:error, ended(name, reason)}
  end

  # It was gone before it was asked, or while it was.
  defp ended(name, :noproc), do: Errors.unknown(name)
  defp ended(name, reason), do: Errors.stopped(name, reason)

  @doc """
  Replaces all workers, one after the other: so new Python code comes into service.

  A new worker starts and takes the place of an old one, which gets no more calls, finishes those
  that it has, hands its sessions over (see `Slither.Session`) or waits for the end of those that
  can't move, and stops. No call fails. Returns when all places are taken by new workers and no old
  one has a call out; old ones that wait for their sessions may still be there.

  When a new worker can't start, the rest stay in service, and the reason is returned.
  """
  @spec restart(name) :: :ok | {:error, Error.t()}
  def restart(name), do: change(name, :restart)

  @doc """
  Changes how many workers there are, to `size`. No call fails.

  Returns when as many serve, and none of those that leave has a call out. Workers go on with the
  thread limits of numerical libraries that they started with; new ones get what goes with the
  new size. When a worker can't start, the pool keeps its size, and the reason is returned.
  """
  @spec resize(name, pos_integer) :: :ok | {:error, Error.t()}
  def resize(name, size) do
    where = "Slither.Python.Pool.resize/2"

    with {:ok, [size: size]} <- Options.validate([size: size], [size: @options[:size]], where),
         {:ok, handle} <- handle(name),
         :ok <- few(name, size, handle.settings.spare),
         do: change(name, {:resize, size})
  end

  defp change(name, kind) do
    with {:ok, answer} <- ask(name, {:change, kind}, :infinity), do: answer
  end

  @doc """
  Runs one call, without a dispatch around it.

  `target` is `["function", module, name]` or `["command", name]`. Returns the results with the
  errors of single items by their index, or the error of the call. Options: `timeout`, ms the
  call may run (30,000), `session_id` and `on_session_lost`, as in `Slither.Dispatch`.
  """
  @spec call(name, [String.t()], [term], keyword) ::
          {:ok, [term], %{optional(non_neg_integer) => Error.t()}} | {:error, Error.t()}
  def call(name, target, payloads, options \\ []) do
    with {:ok, handle} <- handle(name), do: Call.run(handle, target, payloads, options)
  end

  @doc false
  @spec handle(name) :: {:ok, handle} | {:error, Error.t()}
  def handle(name) do
    # The registry learns of a death a moment after it.
    with [{scheduler, handle}] <- Registry.lookup(Slither.Python.Registry, name),
         true <- Process.alive?(scheduler) do
      {:ok, Map.put(handle, :scheduler, scheduler)}
    else
      _ -> {:error, Errors.unknown(name)}
    end
  end

  @doc false
  # The pools that run, by name.
  @spec all() :: [{name, handle}]
  def all do
    rows = {{:"$1", :"$2", :"$3"}, [{:is_atom, :"$1"}], [{{:"$1", :"$2", :"$3"}}]}

    for {name, scheduler, handle} <- Registry.select(Slither.Python.Registry, [rows]),
        do: {name, Map.put(handle, :scheduler, scheduler)}
  end

  @doc false
  # Asks for a lane: the inbox is told that `ref` is granted or denied.
  @spec request(handle, Slither.Python.Inbox.t(), reference, keyword) :: :ok
  defdelegate request(handle, inbox, ref, options), to: Call

  @doc false
  # Gives a lane back, or takes a request back.
  @spec release(handle, reference) :: :ok
  defdelegate release(handle, ref), to: Call

  @doc false
  # Gives a lane back whose answer nobody waits for.
  @spec abandon(handle, reference) :: :ok
  defdelegate abandon(handle, ref), to: Call

  @doc false
  # A run is over: workers that hold state of it are told to drop it.
  @spec end_run(handle, String.t()) :: :ok
  def end_run(handle, run), do: GenServer.cast(handle.scheduler, {:end_run, run})

  @doc false
  # Whether somebody waits: a holder then gives its lane back after each call.
  @spec contended?(handle) :: boolean
  def contended?(handle), do: Board.waiting?(handle.settings.board)

  @doc false
  # Whether the worker of a slot is to leave: a holder then gives its lane back after its call. So
  # it does where calls are counted, as each lease counts for one.
  @spec recalled?(handle, non_neg_integer) :: boolean
  def recalled?(%{settings: settings}, slot),
    do: settings.max_calls != nil or Board.recalled?(settings.board, slot)

  @doc false
  # How many calls its workers may hold now, in all.
  @spec lanes(handle) :: pos_integer
  def lanes(handle), do: Board.size(handle.settings.board) * handle.settings.window
end
