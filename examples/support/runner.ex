defmodule Slither.Examples.Runner do
  @moduledoc """
  Runs an example and its baselines.

  A result is a map of `name`, `module`, `workers`, `size`, `unit`, `rows`, `parts` and `error`
  (an exception, when the example could not run). A row tells of Slither or of one baseline:
  `kind`, `invariants`, `ended`, `start_ms`, `import_ms` (of a baseline's start, its imports), `ms`, `peak_memory` in bytes, `restarts`,
  `coordination` (lines of code), `interpreter` and `note`.
  """

  alias Slither.Examples.{Baseline, Coordination, Report}
  alias Slither.Python.{Env, Environment}

  # Where the examples are.
  @root Path.expand("..", __DIR__)

  # ms that one baseline may take, unless the example has a `baseline_deadline/0`.
  @deadline 60_000

  # Interpreters without a GIL, for the baselines that use threads.
  @free_threaded ~w(python3.14t python3.13t)
  @threads ~w(unsafe_threaded safe_python)

  @doc "The names of all examples in a folder."
  @spec known(Path.t()) :: [String.t()]
  def known(root \\ @root) do
    for path <- Path.wildcard(Path.join(root, "*/*.ex")),
        name = Path.basename(path, ".ex"),
        name == Path.basename(Path.dirname(path)),
        do: name
  end

  @doc "The module of an example; it is compiled when it is asked for."
  @spec load(String.t(), Path.t()) :: module
  def load(name, root \\ @root) do
    Code.require_file(Path.join([root, name, name <> ".ex"]))
    Module.concat(Slither.Examples, Macro.camelize(name))
  end

  @doc """
  Runs an example, or what `only` says of it: `:all`, `:slither` or `:baselines`.

  Options: `workers:`, `size:` (the example's own unless given), `python:` (the baselines'
  interpreter), `say:`, a function that takes lines on what goes on, `root:`, the examples' folder,
  and `ceiling: false`, where this VM has more to hold than an example: the memory of Slither's half
  is then measured, and held against no ceiling.
  """
  @spec run(String.t(), :all | :slither | :baselines, keyword) :: map
  def run(name, only, options) do
    options = Keyword.merge([workers: 2, root: @root, say: fn _line -> :ok end], options)
    module = load(name, options[:root])
    {size, unit} = module.size()
    options = Keyword.put_new(options, :size, size)

    result = %{
      name: name,
      module: module,
      workers: options[:workers],
      size: options[:size],
      unit: unit,
      rows: [],
      parts: [],
      error: nil
    }

    with {:ok, result} <-
           if(only == :baselines, do: {:ok, result}, else: slither(result, options)),
         {:ok, result} <-
           if(only == :slither, do: {:ok, result}, else: baselines(result, options)) do
      result
    else
      {:error, error} -> %{result | error: error}
    end
  end

  defp slither(result, options) do
    options[:say].("slither")

    with {:ok, python} <- python(result.name, nil, options),
         run_options = [workers: result.workers, size: result.size, python: python],
         {:ok, outcome} <- result.module.run(run_options) do
      row =
        Map.merge(outcome.figures, %{
          kind: "slither",
          invariants: outcome.invariants,
          ended: true,
          import_ms: nil,
          coordination: Coordination.lines(folder(result.name, options), "slither"),
          interpreter: nil,
          note: nil
        })

      row = if options[:ceiling] == false, do: row, else: below_ceiling(row, result.module)
      {:ok, %{result | rows: [row], parts: outcome.parts}}
    end
  end

  defp baselines(result, options) do
    Enum.reduce_while(Baseline.kinds(), {:ok, result}, fn kind, {:ok, result} ->
      options[:say].(kind)

      case baseline(result, kind, options) do
        {:ok, row} -> {:cont, {:ok, %{result | rows: result.rows ++ [row]}}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp baseline(result, kind, options) do
    asked = options[:python] || if(kind in @threads, do: free_threaded())

    with {:ok, python} <- python(result.name, asked, options),
         {:ok, python} <- Environment.interpreter(python) do
      row =
        Baseline.run(folder(result.name, options), kind,
          python: python,
          workers: result.workers,
          size: result.size,
          deadline: deadline(result.module)
        )

      row = Map.put(row, :coordination, Coordination.lines(folder(result.name, options), kind))
      {:ok, below_ceiling(row, result.module)}
    end
  end

  # What can't be measured is not claimed.
  defp below_ceiling(%{peak_memory: peak} = row, module) do
    if peak && function_exported?(module, :memory_ceiling, 0) do
      ceiling = module.memory_ceiling()
      held = {"peak memory stays below #{Report.bytes(ceiling)}", peak < ceiling}
      %{row | invariants: row.invariants ++ [held]}
    else
      row
    end
  end

  # The interpreter with what the example needs: an environment of its own, or the one asked for.
  defp python(name, asked, options) do
    lock = Path.join(folder(name, options), "requirements.lock")

    if File.exists?(lock),
      do: Env.ensure({:uv, lock}, python: asked, progress: options[:say]),
      else: {:ok, asked}
  end

  defp free_threaded, do: Enum.find(@free_threaded, &System.find_executable/1)

  defp deadline(module) do
    if function_exported?(module, :baseline_deadline, 0),
      do: module.baseline_deadline(),
      else: @deadline
  end

  defp folder(name, options), do: Path.join(options[:root], name)
end
