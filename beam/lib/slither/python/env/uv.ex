defmodule Slither.Python.Env.Uv do
  @moduledoc false
  # Finds uv, or installs it, in the process that builds an environment (`Slither.Python.Env`).

  alias Slither.Error
  alias Slither.Python.Env.{Spec, Step}

  @spec find(Spec.t(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def find(env, options) do
    case known(options) do
      nil -> Step.locked(env, options, own(options), fn -> install(env, options) end)
      uv -> {:ok, uv}
    end
  end

  @doc "Where it is, if it is anywhere."
  @spec known(keyword) :: String.t() | nil
  def known(options) do
    Enum.find([in_folder(venv()), in_folder(own(options))], &File.exists?/1) ||
      System.find_executable("uv")
  end

  # Another process may have installed it while this one waited for the lock.
  defp install(env, options) do
    case known(options) do
      nil -> install_with_pip(env, options)
      uv -> {:ok, uv}
    end
  end

  defp install_with_pip(env, options) do
    folder = if File.dir?(venv()), do: venv(), else: own(options)
    python = Path.join([folder, "bin", "python"])
    Step.say(options, "installing uv into #{folder}")

    with :ok <- venv(env, options, folder, python),
         :ok <- Step.command(env, options, python, ["-m", "pip", "install", "uv"]) do
      {:ok, in_folder(folder)}
    end
  end

  defp venv(env, options, folder, python) do
    if File.exists?(python),
      do: :ok,
      else: Step.command(env, options, env.base, ["-m", "venv", folder])
  end

  defp venv, do: Path.expand(".venv")
  defp own(options), do: Path.join(Spec.cache(options), "uv")
  defp in_folder(folder), do: Path.join([folder, "bin", "uv"])
end
