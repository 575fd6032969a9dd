defmodule Slither.Python.Env.Spec do
  @moduledoc false
  # Finds the environment that a user's file asks for: a digest of all that the environment
  # depends on names its place in the cache. Called by `Slither.Python.Env`, in the process that
  # asks for the environment.

  alias Slither.Error
  alias Slither.Python.Environment

  # What workers themselves need.
  @own "msgpack>=1.0.8"

  # A program that prints the interpreter's real path and its version, so that an interpreter
  # which was upgraded in place gets another environment.
  @identity "import os, sys; print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)), sys.version)"

  @enforce_keys [:file, :name, :base, :own, :path, :interpreter]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          file: Path.t(),
          name: String.t(),
          base: String.t(),
          own: String.t(),
          path: Path.t(),
          interpreter: String.t()
        }

  @spec resolve({:uv, Path.t()}, keyword) :: {:ok, t} | {:error, Error.t()}
  def resolve({:uv, file}, options) do
    with {:ok, text} <- read(file),
         {:ok, base} <- Environment.interpreter(options[:python]),
         {:ok, identity} <- identity(base) do
      digest = :erlang.md5(:erlang.term_to_binary({text, identity, @own}))
      name = "#{stem(file)}-#{digest |> Base.encode16(case: :lower) |> binary_part(0, 16)}"
      path = Path.join(cache(options), name)

      {:ok,
       %__MODULE__{
         file: Path.expand(file),
         name: name,
         base: base,
         own: @own,
         path: path,
         interpreter: Path.join([path, "bin", "python"])
       }}
    end
  end

  @doc "The folder in which environments are kept."
  @spec cache(keyword) :: Path.t()
  def cache(options) do
    Path.expand(
      options[:cache] || Application.get_env(:slither, :env_cache) ||
        Path.join(:filename.basedir(:user_cache, "slither"), "envs")
    )
  end

  # The environment's name begins with that of the file's folder, for people who look at the cache.
  defp stem(file) do
    file
    |> Path.expand()
    |> Path.dirname()
    |> Path.basename()
    |> String.replace(~r/[^\w-]/, "_")
    |> String.slice(0, 30)
  end

  defp read(file) do
    case File.read(file) do
      {:ok, text} -> {:ok, text}
      {:error, :enoent} -> {:error, error("no file #{file}")}
      {:error, reason} -> {:error, error("#{file}: #{:file.format_error(reason)}")}
    end
  end

  defp identity(base) do
    case System.cmd(base, ["-I", "-S", "-c", @identity], stderr_to_stdout: true) do
      {output, 0} -> {:ok, output}
      {output, status} -> {:error, error("#{base} ended with #{status}: #{String.trim(output)}")}
    end
  rescue
    error in ErlangError -> {:error, error("#{base} can't be run: #{inspect(error.original)}")}
  end

  defp error(message),
    do: %Error{reason: :no_environment, where: "Slither.Python.Env", message: message}
end
