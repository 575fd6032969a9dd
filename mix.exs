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
      elixirc_options: [warnings_as_errors: true],
      erlc_paths: [],
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
