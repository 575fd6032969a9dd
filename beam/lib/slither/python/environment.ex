defmodule Slither.Python.Environment do
  @moduledoc false
  # Which interpreter a pool runs, and with which variables. Launchers, the pool's scheduler and the
  # doctor call it, each in its own process.

  alias Slither.Error
  alias Slither.Python.Placement

  # Each worker gets a share of the cores, so that N workers do not run N times as many threads.
  @openmp "OMP_NUM_THREADS"
  # These libraries take OpenMP's number where their own variable is not set.
  @after_openmp ~w(OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS BLIS_NUM_THREADS)
  @alone ~w(VECLIB_MAXIMUM_THREADS)

  # The slot of a worker among those of its pool.
  @worker "SLITHER_WORKER"

  # What a worker imports before it says hello.
  @imports "import slither.worker, slither._worker.main"

  # ms that a shim may take to say what is behind it.
  @shim_timeout 10_000

  @typep settings :: %{
           :size => pos_integer,
           :env => keyword | map,
           optional(atom) => term
         }
  @typep variables :: [{charlist, charlist | false}]

  @doc """
  The real interpreter: the `python:` option, else the project's `.venv`, else `python3`.

  What is behind a version manager's shim is asked for once, for each `env` and `cd`, since a
  shim may choose by them.
  """
  @spec interpreter(String.t() | nil, keyword | map, String.t() | nil) ::
          {:ok, String.t()} | {:error, Error.t()}
  def interpreter(option, env \\ [], cd \\ nil) do
    candidate = option || venv() || "python3"

    case System.find_executable(candidate) do
      nil -> {:error, missing(candidate)}
      path -> {:ok, path |> Path.absname() |> behind_shim(user(env), cd)}
    end
  end

  @doc """
  Variables for the process of the worker in `slot`, of a pool with these settings. A process that
  is no worker has none, nil.

  Numerical libraries get a share of the cores as their number of threads, or the cpus of the worker's
  place, unless the user has set it, in the pool's `env` or in BEAM's own environment, `inherited`.
  """
  @spec variables(settings, non_neg_integer | nil, map) :: variables
  def variables(settings, slot, inherited \\ System.get_env()) do
    user = settings.env |> user() |> Map.merge(Map.get(settings, :own, %{}))
    share = Integer.to_string(Placement.threads(settings) || cores(settings))
    limits = for name <- limited(Map.merge(inherited, user)), into: %{}, do: {name, share}
    path = Map.get(user, "PYTHONPATH", Map.get(inherited, "PYTHONPATH"))

    ours = %{"PYTHONPATH" => python_path(path), @worker => slot && Integer.to_string(slot)}

    for {name, value} <- limits |> Map.merge(user) |> Map.merge(ours) do
      # A port removes a variable whose value is false.
      {to_charlist(name), value != nil && to_charlist(value)}
    end
  end

  # A pool that grows by itself has them for when it has grown.
  defp cores(settings), do: max(1, div(System.schedulers_online(), Placement.most(settings)))

  defp user(extra),
    do: Map.new(extra, fn {name, value} -> {to_string(name), value && to_string(value)} end)

  defp limited(set) do
    names = if is_map_key(set, @openmp), do: @alone, else: [@openmp | @after_openmp] ++ @alone
    Enum.reject(names, &is_map_key(set, &1))
  end

  @doc "Why an interpreter cannot run a worker, in its own words, and what it lacks."
  @spec probe(String.t(), [{charlist, charlist | false}]) :: String.t()
  def probe(python, variables) do
    env = for {name, value} <- variables, do: {to_string(name), if(value, do: to_string(value))}

    case System.cmd(python, ["-c", @imports], stderr_to_stdout: true, env: env) do
      {_output, 0} ->
        "#{python}: the worker ended before it said hello"

      {output, status} ->
        "#{python}: #{String.trim(output)} (exit status #{status})#{advice(python, output)}"
    end
  rescue
    error in ErlangError -> "#{python}: it can't be run: #{inspect(error.original)}"
  end

  defp advice(python, output) do
    case Regex.run(~r/No module named '(msgpack|slither)\b/, output) do
      [_, name] -> "; install it with: #{install(python, name)}"
      nil -> ""
    end
  end

  @doc "The command that installs what a worker needs, `msgpack` or `slither`, for an interpreter."
  @spec install(String.t(), String.t()) :: String.t()
  def install(python, "msgpack"), do: "#{python} -m pip install 'msgpack>=1.0.8'"
  def install(python, "slither"), do: "#{python} -m pip install slither-beam"

  defp venv do
    path = Path.join([File.cwd!(), ".venv", "bin", "python"])
    if File.exists?(path), do: path
  end

  defp missing(candidate) do
    %Error{
      reason: :no_interpreter,
      message: "no Python interpreter #{inspect(candidate)}",
      hint: "install Python 3.10 or newer, or set the pool's python: option to its path"
    }
  end

  # A version manager's shim costs far more to start than the interpreter. Other scripts are the
  # user's own: they may set up what the interpreter needs.
  defp behind_shim(path, env, cd) do
    if Path.basename(Path.dirname(path)) == "shims",
      do: known({__MODULE__, path, env, cd}) || ask_shim({__MODULE__, path, env, cd}),
      else: path
  end

  # A shim's answer stays valid until the interpreter that it names is gone.
  defp known(key) do
    real = :persistent_term.get(key, nil)
    if real != nil and File.exists?(real), do: real
  end

  defp ask_shim({_module, path, env, cd} = key) do
    task = Task.async(fn -> run_shim(path, env, cd) end)

    with {:ok, {output, 0}} <- Task.yield(task, @shim_timeout) || Task.shutdown(task),
         real = String.trim(output),
         true <- File.exists?(real) do
      :persistent_term.put(key, real)
      real
    else
      _failed -> path
    end
  end

  defp run_shim(path, env, cd) do
    options = if cd, do: [env: env, cd: cd], else: [env: env]
    System.cmd(path, ["-c", "import sys; print(sys.executable)"], options)
  rescue
    error in ErlangError -> error
  end

  # The package that came with this BEAM goes before one that is installed, which may be older.
  defp python_path(theirs) do
    case Enum.reject([package(), theirs], &(&1 in [nil, ""])) do
      [] -> nil
      folders -> Enum.join(folders, ":")
    end
  end

  # An escript has no such folder: whoever starts it says where the package is.
  defp package do
    with priv when is_list(priv) <- :code.priv_dir(:slither),
         folder = Path.join(List.to_string(priv), "python"),
         true <- File.dir?(folder),
         do: folder,
         else: (_none -> nil)
  end
end
