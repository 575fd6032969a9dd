defmodule Slither.Driver.Options do
  @moduledoc false
  # Reads what a driver says in its welcome and of its runs as options of the pool, of a dispatch
  # and of a pipe's run. Names come from data: they are looked up in tables, and none becomes an
  # atom. The server and the runs call it, each in its own process.

  alias Slither.Dashboard
  alias Slither.Dispatch.Settings
  alias Slither.Driver.{Executor, Faults}
  alias Slither.{Error, Gather, Options, Protocol, Rate}
  alias Slither.Rate.Spec
  alias Slither.Pipe.Document.{Part, Policies}
  alias Slither.Python.Pool

  @pool ~w(size start spare python preload paths env cd main argv initializer window max_queue age_limit max_frame
           startup_timeout max_requests max_calls max_rss max_age cancel_grace session_idle
           shutdown log_level watch capture_failures each gpus cpus grow_after idle
           max_memory rlimits)a
  @levels ~w(debug info warning error)a

  # Options of both kinds of run that have other names on BEAM; `run/1` translates them.
  @run [session: [type: :string], trace: []]
  @map ~w(priority max_in_flight ordering isolate timeout item_timeout queue_timeout batch_size batch_time
          as)a
  @map_only [target: [], on_error: [], rate: []]
  @pipe_only [
    checkpoint: [type: :string],
    resume: [type: {:in, [:anyway]}],
    sources: [type: :map]
  ]

  @values [
    module: [type: :string, required: true],
    function: [type: :string, required: true],
    call: [required: true],
    timeout: [type: :timeout, default: :infinity],
    session: [type: :string],
    trace: [type: :string]
  ]

  @doc "The options of the dashboard, nil where none is asked for, and the other settings."
  @spec dashboard(map) :: {:ok, Dashboard.Options.t() | nil, map} | {:error, Error.t()}
  def dashboard(settings) do
    case Map.pop(settings, "dashboard") do
      {off, settings} when off in [nil, false] ->
        {:ok, nil, settings}

      {asked, settings} ->
        with {:ok, options} <- Dashboard.Options.from_wire(asked), do: {:ok, options, settings}
    end
  end

  @doc "The options of the pool `:default`, and the Logger's level."
  @spec pool(map) :: {:ok, keyword, Logger.level()} | {:error, Error.t()}
  def pool(settings) do
    {level, settings} = Map.pop(settings, "level", "info")
    settings = Map.replace_lazy(settings, "size", &size/1)

    with {:ok, level} <- level(level),
         {:ok, options} <- read("setting", settings, Keyword.take(Pool.options(), @pool)),
         {:ok, options} <- Pool.check([name: :default] ++ options) do
      {:ok, options, level}
    end
  end

  @doc "A number of workers, or the least and the most."
  @spec size(term) :: term
  def size([least, most]) when is_integer(least) and is_integer(most) and least <= most,
    do: least..most

  def size(other), do: other

  defp level(name) do
    case Enum.find(@levels, &(Atom.to_string(&1) == name)) do
      nil -> {:error, Faults.unknown("level", name, Enum.map(@levels, &Atom.to_string/1))}
      level -> {:ok, level}
    end
  end

  @doc "Where spans go: `true`, `false`, or options by name; nil where BEAM finds out by itself."
  @spec trace(term) :: {:ok, keyword | boolean | nil} | {:error, Error.t()}
  def trace(value) when value in [nil, true, false], do: {:ok, value}
  def trace(%{} = values), do: read("setting of trace", values, Slither.Trace.options())

  @doc "The options of the dispatch that a map is."
  @spec map(map) :: {:ok, keyword} | {:error, Error.t()}
  def map(spec) do
    table = Keyword.take(Settings.table(), @map) ++ @run ++ @map_only

    with {:ok, options} <- read("option", spec, table),
         {:ok, options} <- policy(options),
         {:ok, options} <- rate(options),
         do: Settings.check([executor: Executor, raw: true] ++ run(options), "map")
  end

  defp policy(options) do
    with {:ok, document} <- Keyword.fetch(options, :on_error),
         part = %Part{path: "on_error", value: document},
         {:ok, policy} <- Part.read(fn -> Policies.policy(part) end) do
      {:ok, Keyword.put(options, :on_error, policy)}
    else
      :error -> {:ok, options}
      {:error, error} -> {:error, %{error | reason: :invalid_option}}
    end
  end

  # One with a name begins with the first run that names it, and is there for all that follow.
  defp rate(options) do
    with {:ok, %{} = document} <- Keyword.fetch(options, :rate),
         {name, document} = Map.pop(document, "name"),
         {:ok, given} <- read("option of rate", document, Spec.all()),
         {:ok, _spec} <- Spec.new(given) do
      named(options, name, given)
    else
      :error -> {:ok, options}
      {:ok, _name} -> {:ok, options}
      {:error, error} -> {:error, error}
    end
  end

  defp named(options, nil, given), do: {:ok, Keyword.put(options, :rate, given)}

  defp named(options, name, given) do
    figures = Spec.figures(given)
    use = Keyword.take(given, [:weight, :refusals])

    case Rate.Server.ensure(name, figures) do
      ^figures -> {:ok, Keyword.put(options, :rate, {name, use})}
      others -> {:error, other_figures(name, others)}
    end
  end

  defp other_figures(name, others) do
    told = "#{others.items} items in #{others.per} ms, and a burst of #{others.burst}"

    message =
      "the rate #{inspect(name)} runs already with #{told}; all that share it say the same"

    %Error{reason: :invalid_option, message: message, details: %{option: :rate}}
  end

  @doc "The options of a gather."
  @spec gather(map) :: {:ok, keyword} | {:error, Error.t()}
  def gather(spec) do
    with {:ok, options} <- read("option", spec, Gather.Settings.driven()),
         do: Gather.Settings.check_driven(options)
  end

  @doc "The document of a pipe, and the options of its run."
  @spec pipe(map) :: {:ok, term, keyword} | {:error, Error.t()}
  def pipe(spec) do
    {document, spec} = Map.pop(spec, "document")

    with {:ok, options} <- read("option", spec, @run ++ @pipe_only),
         {:ok, options} <- Options.validate(options, @run ++ @pipe_only, "pipe"),
         do: {:ok, document, run(options)}
  end

  @doc "The target and the payload of a call that gives values, and the options of drawing them."
  @spec values(map) :: {:ok, [String.t()], list, keyword} | {:error, Error.t()}
  def values(spec) do
    with {:ok, options} <- read("option", spec, @values),
         {:ok, options} <- Options.validate(options, @values, "values"),
         {:ok, payload} <- Protocol.unpack(options[:call].data) do
      target = ["apply", options[:module], options[:function]]
      own = if trace = options[:trace], do: [metadata: %{trace: trace}], else: []
      {:ok, target, payload, [timeout: options[:timeout], session_id: options[:session]] ++ own}
    end
  end

  defp read(what, values, table) do
    with {:unknown, name} <- Options.from_wire(values, table) do
      known = Enum.map(Keyword.keys(table), &Atom.to_string/1)
      {:error, Faults.unknown(what, name, known)}
    end
  end

  defp run(options) do
    Enum.map(options, fn
      {:session, name} -> {:session_id, name}
      {:trace, trace} -> {:metadata, %{trace: trace}}
      {:target, target} -> {:executor_options, [target: target]}
      option -> option
    end)
  end
end
