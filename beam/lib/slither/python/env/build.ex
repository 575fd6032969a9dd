defmodule Slither.Python.Env.Build do
  @moduledoc false
  # Builds an environment in its place, in the process that asked for it and holds its lock
  # (`Slither.Python.Env`). The mark that says the environment is whole is written last.

  alias Slither.Error
  alias Slither.Python.Env.{Spec, Step, Uv}

  @mark "slither-ready"

  @spec ready?(Spec.t()) :: boolean
  def ready?(env), do: File.exists?(Path.join(env.path, @mark)) and File.exists?(env.interpreter)

  @spec run(Spec.t(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def run(env, options) do
    Step.say(options, "building the Python environment of #{env.file}")
    File.rm_rf!(env.path)

    with {:ok, uv} <- Uv.find(env, options),
         :ok <- step(env, options, uv, ["venv", "--no-project", "--python", env.base, env.path]),
         :ok <- step(env, options, uv, install(env)) do
      File.write!(Path.join(env.path, @mark), "#{env.file}\n#{env.base}\n")
      Step.say(options, "the environment of #{env.file} is ready in #{env.path}")
      {:ok, env.interpreter}
    else
      {:error, error} ->
        File.rm_rf(env.path)
        {:error, error}
    end
  end

  # One command for all packages, since the file may say where they come from. Bytecode is compiled
  # now: where workers may not write it (PYTHONDONTWRITEBYTECODE), each would compile its imports anew.
  defp install(env) do
    ["pip", "install", "--python", env.interpreter, "-r", env.file, env.own] ++
      ["--compile-bytecode"]
  end

  defp step(env, options, uv, arguments), do: Step.command(env, options, uv, arguments)
end
