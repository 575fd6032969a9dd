defmodule Slither.Python.EnvTest do
  # Wheels in a folder stand in for the network.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Error, Lock}
  alias Slither.Python.{Env, Environment, Pool}

  doctest Slither.Python.Env

  setup_all do
    wheels = Path.join(System.tmp_dir!(), "slither-wheels-#{System.pid()}")
    {:ok, python} = Environment.interpreter(nil)
    script = Path.expand("../support/make_wheels.py", __DIR__)
    {"", 0} = System.cmd(python, [script, wheels], stderr_to_stdout: true)
    on_exit(fn -> File.rm_rf!(wheels) end)
    %{wheels: wheels}
  end

  setup %{wheels: wheels} do
    folder = path("project")
    File.mkdir_p!(folder)
    me = self()

    options = [
      cache: Path.join(folder, "cache"),
      progress: fn line -> send(me, {:progress, line}) end
    ]

    %{folder: folder, wheels: wheels, options: options}
  end

  # A file of requirements that need no network.
  defp requirements(%{folder: folder, wheels: wheels}, packages) do
    path = Path.join(folder, "requirements.txt")
    File.write!(path, Enum.join(["--no-index", "--find-links #{wheels}" | packages], "\n"))
    path
  end

  defp run(python, code) do
    {output, 0} = System.cmd(python, ["-c", code])
    String.trim(output)
  end

  @version "import slither_test_package; print(slither_test_package.VERSION)"

  test "a pool's workers run in the environment of a file of requirements", context do
    file = requirements(context, ["slither-test-package==1.0", "# #{unique(:env)}"])
    name = ready_pool(python: {:uv, file}, size: 2, startup_timeout: patience())
    assert {:ok, [version, prefix]} = call(name, "versions", nil, module: "env_handlers")
    assert {:ok, %{path: path, ready: true}} = Env.status({:uv, file})
    assert {version, prefix} == {"1.0", path}
    File.rm_rf!(path)
  end

  test "it is built once, and again for a file that has changed", context do
    file = requirements(context, ["slither-test-package==1.0"])
    assert {:ok, %{ready: false}} = Env.status({:uv, file}, context.options)
    assert {:ok, python} = Env.ensure({:uv, file}, context.options)
    assert_received {:progress, "building the Python environment of " <> _file}
    assert run(python, @version) == "1.0"
    flush()

    assert Env.ensure({:uv, file}, context.options) == {:ok, python}
    refute_received {:progress, _line}

    requirements(context, ["slither-test-package==2.0"])
    assert {:ok, other} = Env.ensure({:uv, file}, context.options)
    assert run(other, @version) == "2.0"
    assert run(python, @version) == "1.0"
  end

  test "half an environment is not used", context do
    file = requirements(context, ["slither-test-package==1.0"])
    assert {:ok, %{path: path}} = Env.status({:uv, file}, context.options)
    {:ok, base} = Environment.interpreter(nil)
    {_output, 0} = System.cmd(base, ["-m", "venv", "--without-pip", path])

    assert {:ok, %{ready: false}} = Env.status({:uv, file}, context.options)
    assert {:ok, python} = Env.ensure({:uv, file}, context.options)
    assert run(python, @version) == "1.0"
  end

  test "of many that need it at once, one builds it", context do
    file = requirements(context, ["slither-test-package==1.0"])

    answers =
      1..4
      |> Enum.map(fn _ -> Task.async(fn -> Env.ensure({:uv, file}, context.options) end) end)
      |> Task.await_many(patience())

    assert [{:ok, python}] = Enum.uniq(answers)
    assert File.exists?(python)
    assert [_once] = for("building " <> _ = line <- flush(), do: line)
  end

  test "one that somebody else builds is waited for, and not for ever", context do
    file = requirements(context, ["slither-test-package==1.0"])
    {:ok, %{path: path}} = Env.status({:uv, file}, context.options)
    File.mkdir_p!(Path.dirname(path))
    {:ok, lock} = Lock.take(path <> ".lock")

    options = [timeout: 100] ++ context.options
    assert {:error, %Error{reason: :no_environment} = error} = Env.ensure({:uv, file}, options)

    assert Exception.message(error) =~
             "another process has held #{path}.lock for more than 100 ms"

    Lock.release(lock)
  end

  test "the dependencies of a pyproject.toml are taken", context do
    file = Path.join(context.folder, "pyproject.toml")

    File.write!(file, """
    [project]
    name = "project"
    version = "0"
    dependencies = ["slither-test-package<2"]

    [tool.uv]
    no-index = true
    find-links = ["#{context.wheels}"]
    """)

    assert {:ok, python} = Env.ensure({:uv, file}, context.options)
    assert run(python, @version) == "1.0"
  end

  test "a package that can't be had is named, with the command", context do
    file = requirements(context, ["slither-test-package==3.0"])
    assert {:error, %Error{} = error} = Env.ensure({:uv, file}, context.options)
    assert error.reason == :no_environment
    assert error.details.packages == ["slither-test-package"]
    assert error.details.status == 1
    assert error.details.command =~ ~r/^uv pip install --python .* -r #{file} 'msgpack>=/

    message = Exception.message(error)
    assert message =~ "the Python environment of #{file}: package slither-test-package: `uv pip"
    assert message =~ "no version of slither-test-package==3.0"
    {:ok, %{path: path}} = Env.status({:uv, file}, context.options)
    refute File.exists?(path)
  end

  test "an index that can't be reached is told from a package that is not there", context do
    file = Path.join(context.folder, "requirements.txt")
    # Nobody listens there.
    File.write!(file, "--index-url http://127.0.0.1:9/simple\nslither-test-package\n")
    assert {:error, error} = Env.ensure({:uv, file}, context.options)
    # uv asks for the packages at once: which of them it names first is luck.
    assert [_ | _] = error.details.packages
    assert error.details.packages -- ["slither-test-package", "msgpack"] == []
    assert error.hint =~ "the package index can't be reached"
  end

  test "a pool answers with what kept its environment from being built", context do
    file = requirements(context, ["slither-test-package==3.0", "# #{unique(:env)}"])
    name = start_pool(python: {:uv, file})
    assert {:error, %Error{} = error} = Pool.await_ready(name, patience())
    assert Exception.message(error) =~ "package slither-test-package"
  end

  test "files, interpreters and options that can't be used are named" do
    assert {:error, error} = Env.ensure({:uv, "no/such.txt"})
    assert Exception.message(error) =~ "no file no/such.txt"

    assert {:error, error} = Env.ensure({:uv, __ENV__.file}, python: "no-python")
    assert error.reason == :no_interpreter

    assert {:error, error} = Env.ensure({:uv, __ENV__.file}, cash: "folder")
    assert Exception.message(error) =~ "unknown option :cash. Did you mean :cache?"

    for spec <- [{:uv, 1}, {:pip, "requirements.txt"}, 7] do
      assert {:error, error} = Pool.check(name: :any, python: spec)

      assert Exception.message(error) =~
               ~s(or {:uv, "requirements.txt"} or {:uv, "pyproject.toml")
    end
  end

  # What was said so far.
  defp flush do
    receive do
      {:progress, line} -> [line | flush()]
    after
      0 -> []
    end
  end
end
