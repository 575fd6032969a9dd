defmodule Slither.Python.Env do
  @options [
    python: [
      type: {:or, [:string, {:in, [nil]}]},
      default: nil,
      doc: "The interpreter to build it from; `nil` takes the project's `.venv`, else `python3`."
    ],
    cache: [
      type: {:or, [:string, {:in, [nil]}]},
      default: nil,
      doc:
        "The folder in which environments are kept; `nil` takes `config :slither, env_cache:`, " <>
          "else `slither/envs` in the user's cache folder."
    ],
    progress: [
      type: {:or, [{:fun, 1}, {:in, [nil]}]},
      default: nil,
      doc: "A function that takes each line on what goes on; `nil` gives them to Logger."
    ],
    timeout: [
      type: :milliseconds,
      default: 900_000,
      doc: "ms that each command may take, and another VM that builds the same."
    ]
  ]

  @moduledoc """
  Python environments with the packages that a file names, built by uv and kept.

  A pool takes one as its interpreter:

      config :slither, pools: [scoring: [python: {:uv, "requirements.txt"}]]

  The first worker to start builds it, which takes as long as the packages need to download; the
  next ones, and the next start, find it there. It is kept by what is in the file, and by the
  interpreter: a file that has changed gives a new environment, and nothing is ever changed in one
  that is in use. Half an environment is never used: what was cut short is built anew. Two VMs that
  need the same build it once.

  The file is one of requirements (`requirements.txt`; pin versions in it, or make a lock with
  `uv pip compile`) or a `pyproject.toml`, whose dependencies are taken. Workers need `msgpack`,
  which is added. Without a network, the lines `--no-index` and `--find-links FOLDER` of a file of
  requirements take packages from a folder; uv's own variables (`UV_INDEX`, `UV_OFFLINE`, …) hold as
  well. uv itself is taken from `.venv/bin` or `PATH`, else installed from PyPI into
  `.venv` with pip, or into the cache where there is no `.venv`.

  ## Options

  #{Slither.Options.docs(@options)}
  """

  alias Slither.{Error, Options}
  alias Slither.Python.Env.{Spec, Step, Uv}
  alias Slither.Python.Environment

  # The file that says an environment is whole; it is written last.
  @mark "slither-ready"

  @typedoc "A file that names packages."
  @type spec :: {:uv, Path.t()}

  @doc false
  # What a pool's `python:` may be, in words and as a check.
  @spec type() :: Options.type()
  def type,
    do: {:custom, ~s({:uv, "requirements.txt"} or {:uv, "pyproject.toml"}), &__MODULE__.spec?/1}

  @doc false
  @spec spec?(term) :: boolean
  def spec?({:uv, path}), do: is_binary(path) and String.valid?(path)
  def spec?(_other), do: false

  @doc false
  # The interpreter of a pool's options.
  @spec interpreter(String.t() | spec | nil, keyword | map, String.t() | nil) ::
          {:ok, String.t()} | {:error, Error.t()}
  def interpreter({:uv, _file} = spec, _env, _cd), do: ensure(spec)
  def interpreter(option, env, cd), do: Environment.interpreter(option, env, cd)

  @doc """
  The interpreter of the environment of a file; builds it where it is not there.

  The error's reason is `:no_environment`: its message names the file, the command that failed and
  the package, where the command named one; `details` has `command`, `status` and `output`.

      iex> {:error, error} = Slither.Python.Env.ensure({:uv, "no/requirements.txt"})
      iex> {error.reason, error.message}
      {:no_environment, "no file no/requirements.txt"}
  """
  @spec ensure(spec, keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def ensure(spec, options \\ []) do
    with {:ok, options} <- check(spec, options, "Slither.Python.Env.ensure/2"),
         {:ok, env} <- Spec.resolve(spec, options) do
      if ready?(env), do: {:ok, env.interpreter}, else: build(env, options)
    end
  end

  @doc """
  What there is of an environment, without building it: a map of `path`, its `interpreter`, and
  `ready`, whether it is whole.
  """
  @spec status(spec, keyword) ::
          {:ok, %{path: Path.t(), interpreter: String.t(), ready: boolean}} | {:error, Error.t()}
  def status(spec, options \\ []) do
    with {:ok, options} <- check(spec, options, "Slither.Python.Env.status/2"),
         {:ok, env} <- Spec.resolve(spec, options) do
      {:ok, %{path: env.path, interpreter: env.interpreter, ready: ready?(env)}}
    end
  end

  defp check(spec, options, where) do
    with {:ok, _} <- Options.validate([spec: spec], [spec: [type: type()]], where) do
      Options.validate(options, @options, where)
    end
  end

  defp build(env, options) do
    Step.locked(env, options, env.path, fn ->
      # Another VM, or another worker, may have built it while this one waited for the lock.
      if ready?(env), do: {:ok, env.interpreter}, else: make(env, options)
    end)
  end

  defp ready?(env), do: File.exists?(Path.join(env.path, @mark)) and File.exists?(env.interpreter)

  defp make(env, options) do
    Step.say(options, "building the Python environment of #{env.file}")
    File.rm_rf!(env.path)
    venv = ["venv", "--no-project", "--python", env.base, env.path]

    with {:ok, uv} <- Uv.find(env, options),
         :ok <- Step.command(env, options, uv, venv),
         :ok <- Step.command(env, options, uv, install(env)) do
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
end
