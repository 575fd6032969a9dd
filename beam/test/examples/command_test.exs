defmodule Slither.Examples.CommandTest do
  # Not async: what goes to stderr is caught.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Slither.Examples.{Command, JSON}

  @fixtures Path.expand("fixtures", __DIR__)

  # The exit status, what was printed, and what went to stderr.
  defp command(function, arguments) do
    me = self()

    errors =
      capture_io(:stderr, fn ->
        output =
          capture_io(fn ->
            send(me, {:status, apply(Command, function, [arguments, @fixtures])})
          end)

        send(me, {:output, output})
      end)

    assert_received {:status, status}
    assert_received {:output, output}
    {status, output, errors}
  end

  test "no name lists the examples with what each shows, its size and its needs" do
    {status, output, ""} = command(:example, [])
    assert status == 0
    assert output =~ "broken: nothing at all"
    assert output =~ "Shows: what a failure looks like."
    assert output =~ "Size: 1,500 things. Needs: a-package."
    assert output =~ "unmet: nothing"
  end

  test "an unknown name or option lists what exists, with status 1" do
    for {arguments, problem} <- [
          {["broke"], "no example broke."},
          {["--wurst"], "unknown option or value: --wurst."},
          {["broken", "--workers", "two"], "unknown option or value: --workers two."},
          {["broken", "--workers", "0"], "--workers takes a number of 1 or more."}
        ],
        function <- [:example, :baseline] do
      assert {1, "", errors} = command(function, arguments)
      assert errors =~ problem
      assert errors =~ "Examples: broken, unmet."
      assert errors =~ "--all, --no-baseline, --workers N"
    end
  end

  test "an invariant that did not hold is told, with status 2" do
    {status, output, errors} = command(:example, ["broken", "--no-baseline", "--size", "7"])
    assert status == 2
    assert output =~ "ok      it was given 7"
    assert output =~ "FAILED  it is right"
    assert errors =~ "broken: it is right"
    refute output =~ "process_pool"
  end

  @tag :tmp_dir
  test "baselines that hang or die are told from one that is right", %{tmp_dir: dir} do
    json = Path.join(dir, "figures.json")
    {status, output, ""} = command(:baseline, ["broken", "--json", json])

    # Breaking is what they are there for.
    assert status == 0
    assert output =~ "unsafe_threaded: did not end: stopped after 1 s"
    assert output =~ "safe_python: the interpreter died of signal 9; all results are lost"
    assert output =~ "Only process_pool is correct."
    refute output =~ "\e["

    assert {:ok, [%{"name" => "broken", "size" => 1_500, "workers" => 2} = figures]} =
             json |> File.read!() |> JSON.decode()

    assert [hangs, dies, right] = figures["rows"]
    assert hangs["ended"] == false
    assert %{"text" => "it ends", "held" => false} in hangs["invariants"]
    assert hangs["ms"] >= 1_000
    assert dies["ms"] == nil
    assert dies["invariants"] == [%{"text" => "it is right", "held" => false}]
    assert right["invariants"] == [%{"text" => "it is right", "held" => true}]
    assert right["peak_memory"] > 64 * 1_048_576
    assert right["interpreter"]["version"] =~ ~r/^3\.\d+/
    # Comments, empty lines and what stands elsewhere don't count.
    assert right["coordination"] == 7
  end

  @tag :tmp_dir
  test "baselines run on the interpreter that is named", %{tmp_dir: dir} do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    other = Path.join(dir, "other-python")
    # It says that it was here.
    File.write!(other, "#!/bin/sh\necho here > '#{dir}/here'\nexec '#{python}' \"$@\"\n")
    File.chmod!(other, 0o755)
    assert {0, _output, ""} = command(:baseline, ["broken", "--python", other])
    assert File.read!(Path.join(dir, "here")) == "here\n"

    assert {3, _output, errors} = command(:baseline, ["broken", "--python", "no-such-python"])
    assert errors =~ ~s(no Python interpreter "no-such-python")
  end

  test "an example that can't have its packages is told at the end, and the others run" do
    {status, output, errors} = command(:example, ["unmet", "broken", "--no-baseline"])
    assert status == 2
    assert output =~ "FAILED  it is right"
    assert output =~ "NOT RUN: see the end."
    assert errors =~ "unmet was not run: the Python environment of "
    assert errors =~ "no-such-package"
    assert errors =~ ~r/`uv pip install .*requirements\.lock .*` ended with status/

    # The others being right, the status tells of it.
    assert {3, _output, _errors} = command(:example, ["unmet"])
  end

  test "the Mix task ends with the status" do
    root = Path.expand("../../..", __DIR__)
    path = Path.join(root, ".venv/bin") <> ":" <> System.get_env("PATH")
    env = [{"MIX_ENV", "dev"}, {"PATH", path}]

    for task <- ["slither.example", "slither.baseline"] do
      {output, status} =
        System.cmd("mix", [task, "nobody"], cd: root, env: env, stderr_to_stdout: true)

      assert {status, output =~ "no example nobody."} == {1, true}
    end
  end
end
