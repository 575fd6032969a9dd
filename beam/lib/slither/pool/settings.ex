defmodule Slither.Pool.Settings do
  @moduledoc false
  # The options of a pool: their table, the check of what a user gave, and the struct that the
  # pool's scheduler and the owners of its workers read. Checked by whoever starts a pool.

  alias Slither.{Error, Options}
  alias Slither.Pool.{Errors, Settings}
  alias Slither.Python.{Board, Capture, Placement, Rlimits, Secret, Sources}
  alias Slither.Python.Launcher.{Fork, Spawn}
  alias Slither.Python.Placement.{Cpus, Gpus}

  @options [
    name: [type: :atom, required: true, doc: "The pool's name."],
    size: [
      type: {:or, [:pos_integer, {:custom, "a range such as 1..8", &Settings.range?/1}]},
      default: 2,
      doc:
        "Workers, each one OS process. With a range the pool begins with the least and grows and " <>
          "shrinks by itself."
    ],
    grow_after: [
      type: :milliseconds,
      default: 200,
      doc:
        "ms that a call may wait before a pool grows whose `size` is a range; it also grows when " <>
          "calls have waited for so long without a pause, each one shorter."
    ],
    idle: [
      type: :timeout,
      default: 60_000,
      doc:
        "ms without a call after which such a pool does without a worker, a quarter later at most. " <>
          "One with sessions stays."
    ],
    spare: [
      type: :non_neg_integer,
      default: 0,
      doc:
        "Workers beyond `size` that have started and wait: one takes the place of a worker that " <>
          "dies at once."
    ],
    start: [
      type: {:in, [nil, :fork, :spawn]},
      default: nil,
      doc:
        "How workers start: `:spawn` starts an interpreter for each; `:fork` forks them from one " <>
          "process, the template, which has imported `preload` and run `@on_template` hooks: they " <>
          "are ready at once, and share its memory (Linux). `nil` forks on Linux where there is a " <>
          "`preload` to share, and neither `each` nor `gpus`, which imports may read."
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
    paths: [type: {:list, :string}, default: [], doc: "Folders that `sys.path` begins with."],
    env: [
      type: {:or, [:keyword, {:list, :any}, :map]},
      default: [],
      doc: "Environment variables; `nil` removes one."
    ],
    each: [
      type:
        {:custom, "a function of arity 1, or a list of what it gives, [env: …] each",
         &Placement.each?/1},
      default: nil,
      doc:
        "Variables of each worker's own: the function gets the worker's number (from 0 on; while " <>
          "workers are replaced it may be `size` or more) and returns `[env: [NAME: value]]`. It " <>
          "runs each time a worker starts. Of a list, each worker gets one that the fewest have."
    ],
    gpus: [
      type:
        {:or,
         [
           {:in, [:auto, nil]},
           {:custom, "a list of GPUs by number or name, or of lists of them", &Gpus.valid?/1}
         ]},
      default: nil,
      doc:
        "GPUs to share out: each worker gets one, or one of the lists, as `CUDA_VISIBLE_DEVICES`. " <>
          "`:auto` takes all there are. Where that variable is set already, it says which there " <>
          "are, and numbers count those."
    ],
    cpus: [
      type:
        {:or,
         [
           {:in, [:spread, nil]},
           {:custom, "a list of lists of cpus, or of ranges", &Cpus.valid?/1}
         ]},
      default: nil,
      doc:
        "Cpus to share out: each worker runs on those of one list, and numerical libraries get as " <>
          "many threads. `:spread` divides those that BEAM may use among `size` and `spare`. " <>
          "On Linux."
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
    age_limit: [
      type: :non_neg_integer,
      default: 10_000,
      doc:
        "ms after which a call that waits for a worker goes before `:urgent` ones that come later."
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
    max_memory: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      default: nil,
      doc:
        "Bytes of memory that a worker may take, with all processes that its handlers start; " <>
          "looked at each 250 ms, and where it takes more it is killed: the call that runs fails " <>
          "with `:memory`. More than one that has just started takes."
    ],
    rlimits: [
      type: {:custom, Rlimits.accepted(), &Rlimits.valid?/1},
      default: nil,
      doc:
        "What the system refuses a worker beyond (`setrlimit`), set before it imports anything: " <>
          "`[as: 4_000_000_000, nofile: {1_024, 4_096}]`, say. `as` bounds the addresses that it " <>
          "may have, which are more than the memory that it takes."
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
    watch: [
      type: :boolean,
      default: false,
      doc:
        "For development: whether the workers are replaced, as `restart/1` does it, when a file " <>
          "of the project changes that one of them has imported. Packages that are installed, " <>
          "and the standard library, are not looked at."
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

  @enforce_keys Keyword.keys(@options)
  defstruct Keyword.keys(@options) ++
              [
                :board,
                :bridge,
                :launcher,
                :owner,
                :workers,
                :tasks,
                :sessions,
                :sources,
                :chores,
                :secret,
                :templates
              ] ++
              [runs_wait?: false, plan: %Placement{}, place: nil, own: %{}, most: nil]

  @typedoc """
  Each option by its name, as `Slither.Python.Pool` describes it, and what the pool adds for its
  workers: the `board` that all read, `bridge`, the module that answers their views and tables, the
  `launcher` that starts their processes (where it forks, from one of the `templates`), and what owns a worker: `owner`, a module that is started
  as `Slither.Python.Worker` is and hears what that hears, and what it needs to know beside.

  Its scheduler works with the supervisors of `workers` and of the pool's own `tasks`, and with a
  table of the ids of `sessions`, which outlives it: one that starts anew knows them to be lost.
  `sources` is the table of the files that workers have imported, nil where none is watched.
  `chores` is the module whose functions the tasks run: `Slither.Pool.SessionCalls`, which makes
  calls of the pool and so stands above its scheduler. `runs_wait?` says that a run waits where the
  queue is full: those of a Python program wait for each other. `secret` is what the workers of such a
  program open with what goes to them by value.

  The scheduler's have one number as their `size`, of now, and the `most`
  that it may be. `plan` says where workers run. In the settings of one worker, `place` is where that one does, and
  `own` are the variables that it alone has.
  """
  @type t :: %__MODULE__{
          name: atom,
          size: pos_integer | Range.t(),
          spare: non_neg_integer,
          board: Board.t() | nil,
          bridge: module | nil,
          launcher: module,
          templates: GenServer.name() | nil,
          owner: {module, term},
          workers: Supervisor.supervisor() | nil,
          tasks: Supervisor.supervisor() | nil,
          sessions: :ets.tid() | nil,
          sources: Sources.t() | nil,
          chores: module | nil,
          runs_wait?: boolean,
          secret: Secret.t() | nil,
          plan: Placement.t(),
          place: Placement.place() | nil,
          own: map,
          most: pos_integer | nil
        }

  @doc "The table of options."
  @spec table() :: Options.table()
  def table, do: @options

  @doc "Checks a pool's options; `{:error, error}` names the option at fault."
  @spec check(keyword) :: {:ok, keyword} | {:error, Error.t()}
  def check(options) do
    name = if Keyword.keyword?(options), do: options[:name]

    with {:ok, checked} <- Options.validate(options, @options, "pool #{inspect(name)}"),
         {_least, most} = range(checked[:size]),
         :ok <- few(name, most, checked[:spare]),
         do: {:ok, checked}
  end

  @doc "Whether this is a range of sizes."
  @spec range?(term) :: boolean
  def range?(first..last//1), do: first > 0 and first <= last
  def range?(_other), do: false

  @doc "The least and the most workers of a size."
  @spec range(pos_integer | Range.t()) :: {pos_integer, pos_integer}
  def range(first..last//_step), do: {first, last}
  def range(size), do: {size, size}

  @doc "Checks that a pool has no more workers than it may, its spares included."
  @spec few(atom, pos_integer, non_neg_integer) :: :ok | {:error, Error.t()}
  def few(name, size, spare) do
    if size + spare > Board.most(),
      do: {:error, Errors.too_many(name, size + spare, Board.most())},
      else: :ok
  end

  @doc "The settings with a plan of where workers run, if what there is here is what they ask for."
  @spec placed(t) :: {:ok, t} | {:error, Error.t()}
  def placed(settings) do
    with {:ok, plan} <- Placement.new(settings), do: {:ok, %{settings | plan: plan}}
  end

  @doc """
  Of checked options; `bridge` answers views and tables. A pool that is `driven` is that of a Python
  program.
  """
  @spec new(keyword, module | nil, driven :: boolean) :: t
  def new(checked, bridge, driven \\ false) do
    settings = struct!(__MODULE__, own(bridge) ++ checked)

    settings
    |> Map.update!(:rlimits, &Rlimits.new/1)
    |> Map.update!(:capture_failures, &Capture.new/1)
    |> Map.put(:launcher, launcher(settings, driven))
  end

  defp own(bridge), do: [bridge: bridge, owner: {Slither.Python.Worker, nil}]

  # Nobody but Linux tells a template all that it is to know.
  defp launcher(settings, driven) do
    start = settings.start || Application.get_env(:slither, :start) || by_itself(settings, driven)
    if start == :fork and :os.type() == {:unix, :linux}, do: Fork, else: Spawn
  end

  # What is imported may read the variables that workers have for themselves: a template has none.
  defp by_itself(%{each: nil, gpus: nil} = settings, driven),
    do: if(driven or settings.preload != [], do: :fork, else: :spawn)

  defp by_itself(_settings, _driven), do: :spawn
end
