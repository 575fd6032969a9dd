defmodule Slither.ReleaseTest do
  # A release that was built from a checkout, moved elsewhere, and runs where neither that checkout
  # nor the project is any more.
  use ExUnit.Case, async: true

  @moduletag :tmp_dir
  # It compiles Slither and a project, and starts the release three times.
  @moduletag timeout: 300_000

  @root Path.expand("../..", __DIR__)

  @files %{
    "mix.exs" => """
    defmodule MyApp.MixProject do
      use Mix.Project
      def project, do: [app: :my_app, version: "0.1.0", deps: [{:slither, path: "../slither"}]]
      def application, do: [extra_applications: [:logger]]
    end
    """,
    "config/runtime.exs" => """
    import Config
    priv = Application.app_dir(:my_app, "priv")

    config :slither,
      env_cache: System.fetch_env!("ENVS"),
      pools: [
        default: [
          size: 1,
          python: {:uv, Path.join(priv, "requirements.txt")},
          paths: [priv],
          startup_timeout: 120_000
        ],
        none: false
      ]
    """,
    "priv/handlers.py" => """
    import sys
    import slither
    import slither_test_package

    def where(items):
        return [[item, slither.__file__, sys.prefix, slither_test_package.VERSION] for item in items]
    """,
    "lib/my_app.ex" => """
    defmodule MyApp do
      use Slither.Pipe

      pipe :where do
        stage :python, :python, module: "handlers", function: "where", pool: :default
        on_error :*, :halt
      end

      def main do
        {:ok, _} = Application.ensure_all_started(:my_app)
        {:ok, outputs} = Slither.run_pipe(__MODULE__, ["item"])
        [item] = outputs.default
        IO.puts(Enum.join(["pipe" | item.payload], "|"))
      end
    end
    """
  }

  test "carries the Python half, and makes and keeps its workers' environment", %{tmp_dir: dir} do
    # A whole Erlang is in it.
    on_exit(fn -> File.rm_rf!(dir) end)
    copy_checkout(Path.join(dir, "slither"))
    wheels = make_wheels(Path.join(dir, "wheels"))
    requirements = "--no-index\n--find-links #{wheels}\nslither-test-package==1.0\n"
    project = Path.join(dir, "my_app")

    for {name, text} <- Map.put(@files, "priv/requirements.txt", requirements) do
      path = Path.join(project, name)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
    end

    run("mix", ["release", "--path", Path.join(dir, "built")], project, [{"MIX_ENV", "prod"}])
    there = Path.join(dir, "moved")
    File.rename!(Path.join(dir, "built"), there)
    for gone <- ["slither", "my_app"], do: File.rm_rf!(Path.join(dir, gone))

    program = Path.join(there, "bin/my_app")
    envs = Path.join(dir, "envs")
    # Nothing of the checkout's tests: their own PYTHONPATH would serve as well.
    env = [{"ENVS", envs}, {"PYTHONPATH", nil}, {"MIX_ENV", nil}]

    output = run(program, ["eval", "Slither.Doctor.run()"], dir, env)
    assert output =~ ~r/^ok   slither .*#{there}.*priv\/python\/slither$/m
    assert output =~ ~r/^ok   pool default   the environment of .* is not built yet/m
    refute output =~ "pool none"

    assert ["item", package, prefix, "1.0"] =
             pipe(run(program, ["eval", "MyApp.main()"], dir, env))

    assert String.starts_with?(package, there)
    assert String.starts_with?(prefix, envs)

    # With no packages to be had, what is kept serves on.
    File.rm_rf!(wheels)

    assert ["item", ^package, ^prefix, "1.0"] =
             pipe(run(program, ["eval", "MyApp.main()"], dir, env))
  end

  defp copy_checkout(to) do
    for part <- ["mix.exs", "beam/lib", "beam/config", "python/slither"] do
      File.mkdir_p!(Path.dirname(Path.join(to, part)))
      File.cp_r!(Path.join(@root, part), Path.join(to, part))
    end
  end

  defp make_wheels(folder) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    script = Path.expand("support/make_wheels.py", __DIR__)
    {"", 0} = System.cmd(python, [script, folder], stderr_to_stdout: true)
    folder
  end

  defp run(command, arguments, folder, env) do
    {output, status} =
      System.cmd(command, arguments, cd: folder, env: env, stderr_to_stdout: true)

    assert status == 0, output
    output
  end

  defp pipe(output) do
    assert [_, said] = Regex.run(~r/^pipe\|(.*)$/m, output), output
    String.split(said, "|")
  end
end
