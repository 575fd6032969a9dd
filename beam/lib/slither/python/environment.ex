defmodule Slither.Python.Environment do
  @moduledoc false
  # Which interpreter a pool runs, and with which environment.

  alias Slither.Error

  # Where this project keeps its Python package, for those who depend on it by path or source.
  @package Path.expand("../../../../python", __DIR__)

  # One thread each is what keeps N workers from running N times the cores' worth of threads.
  @thread_variables ~w(OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS
                       VECLIB_MAXIMUM_THREADS)

  @doc "The real interpreter: the `python:` option, else the project's `.venv`, else `python3`."
  @spec interpreter(String.t() | nil) :: {:ok, String.t()} | {:error, Error.t()}
  def interpreter(option) do
    candidate = option || venv() || "python3"

    case System.find_executable(candidate) do
      nil -> {:error, missing(candidate)}
      path -> {:ok, behind_shim(Path.absname(path))}
    end
  end

  @doc "Variables for the worker's process."
  @spec variables(pos_integer, keyword | map) :: [{charlist, charlist | false}]
  def variables(pool_size, extra) do
    threads = Integer.to_string(max(1, div(System.schedulers_online(), pool_size)))
    limits = for name <- @thread_variables, !System.get_env(name), do: {name, threads}
    user = for {name, value} <- extra, do: {to_string(name), value}

    for {name, value} <- [{"PYTHONPATH", python_path()} | limits] ++ user do
      # A port takes a variable away where it is false.
      {to_charlist(name), value != nil && to_charlist(value)}
    end
  end

  @doc "Why an interpreter cannot run a worker, in its own words."
  @spec probe(String.t(), [{charlist, charlist | false}]) :: String.t()
  def probe(python, variables) do
    env = for {name, value} <- variables, do: {to_string(name), if(value, do: to_string(value))}

    case System.cmd(python, ["-c", "import slither.worker"], stderr_to_stdout: true, env: env) do
      {_output, 0} -> "the worker ended before it said hello"
      {output, status} -> "#{String.trim(output)} (exit status #{status})"
    end
  rescue
    error in ErlangError -> "it can't be run: #{inspect(error.original)}"
  end

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

  # A version manager's shim is a script that costs far more to start than the interpreter.
  defp behind_shim(path) do
    with {:ok, "#!"} <- File.open(path, [:read], &IO.binread(&1, 2)),
         {real, 0} <- System.cmd(path, ["-c", "import sys; print(sys.executable)"]) do
      String.trim(real)
    else
      _ -> path
    end
  end

  defp python_path do
    package = if File.dir?(@package), do: [@package], else: []
    inherited = System.get_env("PYTHONPATH", "")
    Enum.join(package ++ if(inherited == "", do: [], else: [inherited]), ":")
  end
end
