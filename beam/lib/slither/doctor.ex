defmodule Slither.Doctor do
  @moduledoc """
  Says what an installation has and lacks, and how to get it: Elixir, OTP, the Python that pools use
  unless they name another, its packages, uv, and the interpreter or environment of each pool in the
  configuration.

  In a project, `mix slither.doctor` does it. A release has no Mix; there the node that runs says
  what it finds:

  ```sh
  bin/my_app rpc "Slither.Doctor.run()"
  ```

  and where it does not start, a VM of its own: `bin/my_app eval "Slither.Doctor.run()"`.
  """

  alias Slither.Error
  alias Slither.Pool.Configured
  alias Slither.Python.{Env, Environment, Pool}
  alias Slither.Python.Env.{Spec, Uv}

  @oldest_elixir ">= 1.14.0"
  @oldest_otp 25
  @oldest_python [3, 10]

  # Prints a line for each fact as soon as it is known, so that a broken package hides no other fact.
  @facts """
  import sys
  print("python", *sys.version_info[:3])
  print("executable", sys.executable)
  try:
      import msgpack
      print("msgpack", *msgpack.version)
      print("fast", msgpack.Packer.__module__ == "msgpack._cmsgpack")
  except Exception as error:
      print("no_msgpack", repr(error))
  try:
      import slither
      from slither._version import __version__
      print("slither", __version__, "in", slither.__path__[0])
      import slither.worker
  except Exception as error:
      print("no_slither", repr(error))
  """

  @typedoc "Whether it is fine, what was looked at, and what was found or how to get it."
  @type finding :: {boolean, String.t(), String.t()}

  @doc """
  Looks at everything and prints a line for each thing as soon as it is known: `ok` or `MISS`, what
  was looked at, and what was found.

  Options: `pools:`, as `config :slither, pools:` has them, which is the default; `print:`, a
  function that takes each line, in place of `IO.puts/1`.

  Returns `:ok`, or `{:error, missing}` with the findings that are not fine.

      iex> {:error, missing} =
      ...>   Slither.Doctor.run(pools: [odd: [python: "no-such-python"]], print: fn _line -> :ok end)
      iex> {false, "pool odd", found} = List.last(missing)
      iex> found =~ "no-such-python"
      true
  """
  @spec run(pools: keyword(keyword) | false, print: (String.t() -> any)) ::
          :ok | {:error, [finding]}
  def run(options \\ []) do
    allowed = [pools: Application.get_env(:slither, :pools, []), print: &IO.puts/1]
    options = Keyword.validate!(options, allowed)

    missing =
      Enum.reject(findings(options[:pools]), fn {good, what, found} ->
        mark = if good, do: "ok  ", else: "MISS"
        options[:print].("#{mark} #{String.pad_trailing(what, 14)} #{found}")
        good
      end)

    if missing == [], do: :ok, else: {:error, missing}
  end

  @doc false
  @spec findings(term) :: Enumerable.t()
  def findings(configured) do
    {pools, wrong} =
      case Configured.pools(configured) do
        {:ok, pools} -> {pools, []}
        {:error, error} -> {[], [{false, "pools", Exception.message(error)}]}
      end

    Stream.concat([
      [elixir(), otp()],
      Stream.flat_map([nil], fn nil -> python(nil) end),
      Stream.map([:uv], fn :uv -> uv() end),
      wrong,
      Stream.flat_map(pools, &pool/1)
    ])
  end

  defp elixir do
    version = System.version()

    if Version.match?(version, @oldest_elixir),
      do: {true, "Elixir", version},
      else: {false, "Elixir", "#{version} is too old: Slither needs 1.14 or newer"}
  end

  defp otp do
    release = System.otp_release()

    if String.to_integer(release) >= @oldest_otp,
      do: {true, "OTP", "#{release} at #{:code.root_dir()}"},
      else: {false, "OTP", "#{release} is too old: Slither needs #{@oldest_otp} or newer"}
  end

  defp uv do
    case Uv.known([]) do
      nil -> {true, "uv", "not installed; an environment installs it when it is first needed"}
      path -> {true, "uv", "#{said(path, ["--version"])} at #{path}"}
    end
  end

  defp said(executable, arguments) do
    {_ok_or_error, said} = command(executable, arguments, [])
    said
  end

  defp command(executable, arguments, env) do
    case System.cmd(executable, arguments, stderr_to_stdout: true, env: env) do
      {output, 0} -> {:ok, String.trim(output)}
      {output, status} -> {:error, "ended with status #{status}: #{String.trim(output)}"}
    end
  rescue
    error in ErlangError -> {:error, "can't be run: #{inspect(error.original)}"}
  end

  # The interpreter of pools that name none.
  defp python(option) do
    case Environment.interpreter(option) do
      {:ok, python} -> interpreter(python, [])
      {:error, error} -> [{false, "Python", Exception.message(error)}]
    end
  end

  defp interpreter(python, extra) do
    case facts(python, extra) do
      {:ok, facts} -> [version(facts, python), package(facts, python), msgpack(facts, python)]
      {:error, why} -> [{false, "Python", "#{python} #{why}"}]
    end
  end

  defp version(%{"python" => version} = facts, _python) do
    found = "#{String.replace(version, " ", ".")} at #{facts["executable"]}"
    [major, minor | _] = version |> String.split() |> Enum.map(&String.to_integer/1)

    if [major, minor] >= @oldest_python,
      do: {true, "Python", found},
      else: {false, "Python", "#{found} is too old: Slither needs 3.10 or newer"}
  end

  defp version(facts, python), do: {false, "Python", "#{python}: #{inspect(facts)}"}

  defp package(%{"slither" => found}, _python), do: {true, "slither", found}

  defp package(facts, python) do
    why = facts["no_slither"] || "it can't be imported"
    {false, "slither", "#{why}; #{Environment.install(python, "slither")}"}
  end

  defp msgpack(%{"msgpack" => version} = facts, _python) do
    slow = if facts["fast"] == "True", do: "", else: ", without its C part: several times slower"
    {true, "msgpack", String.replace(version, " ", ".") <> slow}
  end

  defp msgpack(facts, python) do
    why = facts["no_msgpack"] || "it can't be imported"
    {false, "msgpack", "#{why}; #{Environment.install(python, "msgpack")}"}
  end

  defp facts(python, extra) do
    env =
      for {name, value} <- Environment.variables(%{size: 1, env: extra}, nil),
          do: {to_string(name), if(value, do: to_string(value))}

    with {:ok, output} <- command(python, ["-c", @facts], env),
         do: {:ok, output |> String.split("\n", trim: true) |> Map.new(&fact/1)}
  end

  defp fact(line) do
    case String.split(line, " ", parts: 2) do
      [name, value] -> {name, value}
      [name] -> {name, ""}
    end
  end

  defp pool({name, options}) do
    case Pool.check([name: name] ++ options) do
      {:ok, checked} -> workers("pool #{name}", checked)
      {:error, error} -> [{false, "pool #{name}", Exception.message(error)}]
    end
  end

  # A pool that is in order takes one line; of another, each part that is not says so.
  defp workers(what, options) do
    with {:ok, python, how} <- interpreter_of(options),
         [] <- for({false, part, found} <- interpreter(python, options[:env]), do: {part, found}) do
      [{true, what, "#{inspect(options[:size])} workers of #{python}#{how}"}]
    else
      {:not_built, found} -> [{true, what, found}]
      {:error, error} -> [{false, what, Exception.message(error)}]
      lacks -> for {part, found} <- lacks, do: {false, what, "#{part}: #{found}"}
    end
  end

  @spec interpreter_of(keyword) ::
          {:ok, String.t(), String.t()} | {:not_built, String.t()} | {:error, Error.t()}
  defp interpreter_of(options) do
    case options[:python] do
      {:uv, file} = spec ->
        case Env.status(spec) do
          {:ok, %{ready: true, interpreter: python}} -> {:ok, python, ", made from #{file}"}
          {:ok, _env} -> {:not_built, not_built(file)}
          {:error, error} -> {:error, error}
        end

      option ->
        with {:ok, python} <- Environment.interpreter(option, options[:env], options[:cd]),
             do: {:ok, python, ""}
    end
  end

  defp not_built(file) do
    "the environment of #{file} is not built yet; the pool's first start builds it in " <>
      Spec.cache([])
  end
end
