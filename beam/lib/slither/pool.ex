defmodule Slither.Python.Pool do
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

  #{Slither.Options.docs(Slither.Pool.Settings.table())}
  """

  use Supervisor

  alias Slither.{Error, Leftovers, Options}
  alias Slither.Pool.{Call, Errors, Handle, Scheduler, SessionCalls, Settings, Status, Watcher}
  alias Slither.Python.Launcher.Fork
  alias Slither.Python.{Obituary, Secret, Sources, Templates, Worker}

  @type name :: atom
  @type handle :: Handle.t()

  @doc false
  @spec options() :: Options.table()
  defdelegate options, to: Settings, as: :table

  @doc "Checks a pool's options; `{:error, error}` names the option at fault."
  @spec check(keyword) :: {:ok, keyword} | {:error, Error.t()}
  defdelegate check(options), to: Settings

  @doc "A child specification, so that pools can stand under any supervisor."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: {__MODULE__, options[:name]},
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  Starts a pool.

  Returns `{:error, error}` for options it can't use, and `{:error, {:already_started, pid}}` where a
  pool of its name runs.
  """
  @spec start_link(keyword) :: Supervisor.on_start() | {:error, Error.t()}
  def start_link(options), do: start_checked(options, runs_wait?: false)

  @doc false
  # The pool of a Python program, whose runs share it with nobody, and whose workers get its secret.
  @spec start_driven(keyword, Secret.t() | nil) :: Supervisor.on_start() | {:error, Error.t()}
  def start_driven(options, secret),
    do: start_checked(options, runs_wait?: true, secret: secret)

  defp start_checked(options, own) do
    with {:ok, checked} <- check(options) do
      # The view server is named in the application's environment, since what answers views
      # stands above the pools.
      views = Application.fetch_env!(:slither, :view_server)

      with {:ok, settings} <- Settings.placed(Settings.new(checked, views, own[:runs_wait?])),
           do: start(struct!(settings, own))
    end
  end

  @doc false
  # Has a name of its own, so that a second pool of that name fails without ending its caller.
  @spec start(Settings.t()) :: Supervisor.on_start()
  def start(settings),
    do: Supervisor.start_link(__MODULE__, settings, name: via(:pool, settings.name))

  @impl true
  def init(%Settings{name: name} = settings) do
    :ok =
      Leftovers.await(Slither.Python.Registry, [
        name,
        {:workers, name},
        {:tasks, name},
        {:templates, name}
      ])

    settings = %{
      settings
      | workers: via(:workers, name),
        tasks: via(:tasks, name),
        sessions: :ets.new(__MODULE__, [:public]),
        sources: if(settings.watch, do: Sources.new()),
        chores: SessionCalls,
        templates: if(settings.launcher == Fork, do: via(:templates, name))
    }

    children = [
      {Task.Supervisor, name: settings.tasks},
      {DynamicSupervisor, name: settings.workers, strategy: :one_for_one},
      {Scheduler, settings} | watcher(settings)
    ]

    Supervisor.init(templates(settings) ++ children, strategy: :one_for_all)
  end

  defp watcher(%{watch: true} = settings), do: [{Watcher, settings}]
  defp watcher(_settings), do: []

  # They end after the workers that were forked from them.
  defp templates(%Settings{templates: nil}), do: []

  defp templates(settings) do
    {_least, most} = Settings.range(settings.size)
    [{Templates, {%{settings | size: most, most: most}, settings.templates}}]
  end

  defp via(kind, name), do: {:via, Registry, {Slither.Python.Registry, {kind, name}}}

  @doc """
  What the pool does now.

  A map of

    * `name`, `size` (of now) and `spare`; `range`, of sizes that the pool may have by itself; how many workers are `ready`, and how many of all are `busy` (at a
      call);
    * `busy_share`: the share of about the last 10 s that the pool's places were at calls, from 0
      to 1; `busy_time`: the time that its workers so far were, in native units;
    * `queue`: calls that wait for a worker, of at most `max_queue`; `oldest_wait`: ms that the
      first of them has waited, nil where none does;
    * `since_free`: ms since a worker was free, nil while one is;
    * `started` and `died`: workers so far; those that were told to stop are not counted as died;
    * `error`: why no worker can start;
    * `changed`: how the size has changed last, a map of `from`, `to`, `why` (`:waited`, `:busy`,
      `:sessions`, `:idle`, `:start_failed` or `:resize`) and `ago` in ms; nil if it has not;
    * `start`: how its workers start, `:fork` or `:spawn`; `template`: the pid of the process that they are
      forked from;
    * `notes`: what was asked for and can't be had here, such as GPUs, or forks, in words;
    * `workers`, each a map of
      * `worker`: its number, which another gets when it is gone;
      * `status`: `:starting`, `:spare` (it waits to take a place), `:ready`, `:draining` (another
        has its place; it finishes what it has) or `:stopping`;
      * `os_pid`; `rss` in bytes; `cpu`: ms of its cores that it has had; all nil where they can't
        be told;
      * `calls` that it holds, `served` calls that it has answered, and `sessions`;
      * `gpus` and `cpus` that it has of those that the pool shares out; nil where it shares none;
      * `age` in ms since it was ready;
      * `runs`: the call that runs, nil between calls: a map of `call` (`"module.function"`),
        `pipe`, `stage`, `run` and `session` (nil where that does not apply), `batch`, `attempt`,
        `items`, `since` (ms that it has run), `deadline` (ms that it has left, nil without a limit)
        and `stalled` (it waits for the reader of its results, which uses up none of that);
      * `said`: the last 20 lines that it has logged or printed, the oldest first, each a map of
        `level` and `text`. `log_level` says what is sent at all.

  Workers that say nothing within a second are shown without `runs` and `said`.

      {:ok, %{workers: workers}} = Slither.Python.Pool.status(:default)
      for %{runs: %{call: call, since: ms}} <- workers, do: IO.puts("\#{call} runs since \#{ms} ms")
  """
  @spec status(name) :: {:ok, map} | {:error, Error.t()}
  def status(name) do
    with {:ok, handle} <- handle(name),
         {:ok, status} <- Scheduler.status(handle),
         do: {:ok, Status.whole(status, handle)}
  end

  @doc """
  Where the code of each worker is now: what runs, and what hangs.

  The workers go on as if nobody had asked. Code in C that holds the interpreter's lock is seen as
  well; then the answer takes up to half a second. The list has a map for each process, of

    * `worker`: its number; `os_pid`: its process;
    * `call`: the call that it runs, `"module.function"`; nil between calls, and while it starts;
    * `stack`: each thread by its name, the main one first, innermost frames first, without those
      that are Slither's own; empty where no code of yours runs. It is nil where it can't be told: not
      on Linux, before Python runs, or where the process is stopped or has given no answer in 2 s.

  A worker that ends meanwhile is not in the list.

      {:ok, workers} = Slither.Python.Pool.stacks(:default)
      for %{call: call, stack: stack} <- workers, call != nil, do: IO.puts([call, "\n", stack])

  Returns `{:error, error}` with reason `:unknown_pool` where no such pool runs.
  """
  @spec stacks(name) :: {:ok, [map]} | {:error, Error.t()}
  def stacks(name) do
    with {:ok, handle} <- handle(name),
         {:ok, owners} <- Scheduler.owners(handle),
         do: {:ok, Status.stacks(owners)}
  end

  @doc """
  Waits until a worker is ready, for at most `timeout` ms.

  Returns the reason when the pool's workers can't start.
  """
  @spec await_ready(name, timeout) :: :ok | {:error, Error.t()}
  def await_ready(name, timeout \\ 60_000) do
    with {:ok, handle} <- handle(name),
         {:ok, answer} <- Scheduler.await_ready(handle, timeout),
         do: answer
  end

  @doc """
  Replaces all workers, one after the other: so new Python code comes into service.

  A new worker starts and takes the place of an old one, which gets no more calls, finishes those
  that it has, hands its sessions over (see `Slither.Session`) or waits for the end of those that
  can't move, and stops. No call fails. Returns when all places are taken by new workers and no old
  one has a call out; old ones that wait for their sessions may still be there.

  When a new worker can't start, the rest stay in service, and the reason is returned.
  """
  @spec restart(name) :: :ok | {:error, Error.t()}
  def restart(name) do
    with {:ok, handle} <- handle(name), do: change(handle, :restart)
  end

  @doc """
  Changes how many workers there are, to `size`, or to a range of sizes: with a number the pool keeps
  that, with a range it grows and shrinks within it. No call fails.

  Returns when as many serve, and none of those that leave has a call out. Workers go on with the
  thread limits of numerical libraries that they started with; new ones get what goes with the
  new size. When a worker can't start, the pool keeps its size, and the reason is returned.
  """
  @spec resize(name, pos_integer | Range.t()) :: :ok | {:error, Error.t()}
  def resize(name, size) do
    table = Keyword.take(options(), [:size])

    with {:ok, [size: size]} <-
           Options.validate([size: size], table, "Slither.Python.Pool.resize/2"),
         {:ok, handle} <- handle(name),
         {_least, most} = Settings.range(size),
         :ok <- Settings.few(name, most, handle.spare),
         do: change(handle, {:resize, size})
  end

  defp change(handle, kind) do
    with {:ok, answer} <- Scheduler.change(handle, kind), do: answer
  end

  @doc """
  Runs one call, without a dispatch around it.

  `target` is `["function", module, name]` or `["command", name]`. Returns the results with the
  errors of single items by their index, or the error of the call. Options: `timeout`, ms the
  call may run (30,000 for each payload unless set), `queue_timeout`, `session_id` and
  `on_session_lost`, as in `Slither.Dispatch`. `Slither.call/4` is the short way to one function.
  """
  @spec call(name, [String.t()], [term], keyword) ::
          {:ok, [term], %{optional(non_neg_integer) => Error.t()}} | {:error, Error.t()}
  def call(name, target, payloads, options \\ []) do
    with {:ok, handle} <- handle(name), do: Call.run(handle, target, payloads, options)
  end

  @doc false
  # The end of a pool nears, and nobody waits for what its workers are at. This is no death of theirs.
  @spec kill_busy(name) :: :ok | {:error, Error.t()}
  def kill_busy(name) do
    with {:ok, handle} <- handle(name),
         {:ok, owners} <- Scheduler.busy(handle),
         do: Enum.each(owners, &Worker.kill(&1, Obituary.stopped()))
  end

  ## For runs

  @doc false
  @spec handle(name) :: {:ok, handle} | {:error, Error.t()}
  def handle(name) do
    # The registry learns of a death a moment after it.
    with [{scheduler, handle}] <- Registry.lookup(Slither.Python.Registry, name),
         true <- Process.alive?(scheduler) do
      {:ok, handle}
    else
      _ -> {:error, Errors.unknown(name)}
    end
  end

  @doc false
  # The pools that run, by name.
  @spec all() :: [{name, handle}]
  def all do
    rows = {{:"$1", :_, :"$2"}, [{:is_atom, :"$1"}], [{{:"$1", :"$2"}}]}
    Registry.select(Slither.Python.Registry, [rows])
  end
end
