defmodule Mix.Tasks.Compile.SlitherPython do
  @moduledoc false
  # Puts the Python half where the application is built, as its `priv/python`: who depends on
  # Slither, and a release that is moved to another machine, have it there. Copies, since a release
  # keeps links as they are.
  use Mix.Task.Compiler

  @from Path.expand("python", __DIR__)
  @files "slither/**/{*.py,py.typed}"

  @impl true
  def run(_arguments) do
    to = Path.join([Mix.Project.app_path(), "priv", "python"])
    files = wanted(@from)
    gone = wanted(to) -- files
    Enum.each(gone, &File.rm!(Path.join(to, &1)))
    changed = Enum.filter(files, &changed?(Path.join(@from, &1), Path.join(to, &1)))
    Enum.each(changed, &copy(Path.join(@from, &1), Path.join(to, &1)))
    {if(gone == [] and changed == [], do: :noop, else: :ok), []}
  end

  @impl true
  def clean, do: File.rm_rf!(Path.join([Mix.Project.app_path(), "priv", "python"]))

  # What `make wheel` puts in between is the other half.
  defp wanted(folder) do
    for path <- Path.wildcard(Path.join(folder, @files)), do: Path.relative_to(path, folder)
  end

  defp changed?(from, to), do: File.read(from) != File.read(to)

  # At once, as a worker may be starting from there.
  defp copy(from, to) do
    File.mkdir_p!(Path.dirname(to))
    part = "#{to}.#{System.pid()}"
    File.cp!(from, part)
    File.rename!(part, to)
  end
end

defmodule Slither.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :slither,
      version: @version,
      elixir: "~> 1.14",
      description: "Bounded, observable BEAM and Python pipelines with shared state on ETS",
      elixirc_paths: elixirc_paths(Mix.env()),
      # Not where it is somebody's dependency, which is built as :prod: what a later Elixir warns of
      # must not keep it from building.
      elixirc_options: [warnings_as_errors: Mix.env() in [:dev, :test]],
      erlc_paths: [],
      # Of inets, which is found where it is wanted, and missed by nobody else.
      xref: [exclude: [:inets, :httpd_util]],
      compilers: Mix.compilers() ++ [:slither_python],
      test_paths: ["beam/test"],
      config_path: "beam/config/config.exs",
      start_permanent: Mix.env() == :prod,
      deps: [],
      escript: [main_module: Slither.Driver, path: "_build/slither.escript"],
      package: [
        licenses: ["MIT"],
        files:
          ~w(beam/lib python/slither protocol examples guides mix.exs pyproject.toml README.md
                  CHANGELOG.md LICENSE)
      ]
    ]
  end

  def application do
    [
      mod: {Slither.Application, []},
      extra_applications: [:logger],
      env: [stores: [], pools: [], view_server: Slither.Bridge]
    ]
  end

  defp elixirc_paths(:test),
    do: ["beam/lib", "beam/test/support", "beam/proof", "examples/support"]

  defp elixirc_paths(_env), do: ["beam/lib"]
end
