defmodule Slither.Dashboard.WaysTest do
  # The ways to a dashboard that have the name of Slither's own: the configuration, the Mix task and
  # the examples. Not async: there is one of that name.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Slither.Dashboard, as: Command
  alias Slither.Dashboard
  alias Slither.Examples.Watched
  alias Slither.Test.{Browser, JSON, VMs}

  defp gone?(url) do
    Browser.open(url)
    false
  rescue
    MatchError -> true
  end

  test "a configuration starts it, or says why not, and the end of the application ends it" do
    vm = VMs.open("dashboard_vm.exs", [])
    assert VMs.wait_for(vm, "missing ") =~ "apt install erlang-inets; a release: add :inets"
    assert VMs.wait_for(vm, "wrong ") =~ "unknown option :prot. Did you mean :port?"
    assert VMs.wait_for(vm, "taken ") =~ ~r/port \d+ is taken/
    # It is no application of the program's.
    assert VMs.wait_for(vm, "inets ") == "false"
    url = VMs.wait_for(vm, "url ")
    assert {200, _headers, _page} = Browser.get(url, "/")
    Port.command(vm, "\n")
    assert VMs.wait_for(vm, "stopped") == ""
    assert gone?(url)
    VMs.rest(vm, nil, fn _line, nil -> nil end)
  end

  describe "mix slither.dashboard" do
    setup do
      before = Mix.shell()
      Mix.shell(Mix.Shell.Process)

      on_exit(fn ->
        Mix.shell(before)
        Application.delete_env(:slither, :dashboard)
        _ = Supervisor.terminate_child(Slither.Supervisor, Dashboard)
        _ = Supervisor.delete_child(Slither.Supervisor, Dashboard)
      end)
    end

    test "says where the page is, and stays" do
      task = Task.async(fn -> Command.run(["--port", "0"]) end)
      assert_receive {:mix_shell, :info, ["dashboard: " <> url]}, 30_000
      assert {200, _headers, _page} = Browser.get(url, "/")
      assert Task.yield(task, 0) == nil
      Task.shutdown(task, :brutal_kill)
    end

    test "takes what it is not told from the configuration" do
      Application.put_env(:slither, :dashboard, port: 1, ip: "::1", token: "one-of-the-project's")
      assert_refused(["--port", "0"], "option :token takes a string of 16")
      Application.put_env(:slither, :dashboard, port: 1, hosts: ["a"])
      task = Task.async(fn -> Command.run(["--port", "0"]) end)
      assert_receive {:mix_shell, :info, ["dashboard: " <> url]}, 30_000
      assert {200, _headers, _page} = Browser.get(url, "/", [{"Host", "a"}])
      Task.shutdown(task, :brutal_kill)
    end

    test "refuses what it can't do" do
      assert_refused(["--prt", "1"], "unknown option or no value: --prt")
      assert_refused(["--port", "many"], "--port does not take many")
      assert_refused(["run.exs"], "takes the number of a process, not run.exs")
      assert_refused(["1", "2"], "takes no 2")
      assert_refused(["1"], "process 1 is no program with Slither of this user", 3)
      assert_refused(["--port", "70000"], "option :port takes a port")
      {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(socket)
      assert_refused(["--port", "#{port}"], "dashboard: port #{port} is taken")
    end

    test "shows another program, by the number of its process" do
      # That is this one, once its socket is open.
      :sys.get_state(Slither.Watch.Attach)
      task = Task.async(fn -> Command.run([System.pid(), "--port", "0"]) end)
      assert_receive {:mix_shell, :info, ["dashboard: " <> url]}, 30_000
      assert {200, _headers, json} = Browser.get(url, "/snapshot")
      assert to_string(JSON.read!(json)["os_pid"]) == System.pid()
      assert {200, _headers, "# HELP slither_" <> _metrics} = Browser.get(url, "/metrics")
      assert {404, _headers, "no pool nowhere runs\n"} = stack(url, "nowhere")
      assert {404, _headers, words} = stack(url, "a%0Aterm%20snapshot")
      assert words =~ "can be asked for from outside"
      assert {404, _headers, "no pool nowhere runs\n"} = stack(url, "nowhere")
      assert Process.whereis(Dashboard) == nil
      Task.shutdown(task, :brutal_kill)
    end

    defp stack(url, pool), do: Browser.get(url, "/stack?pool=#{pool}&worker=0")

    defp assert_refused(arguments, words, status \\ 1) do
      assert catch_exit(Command.run(arguments)) == {:shutdown, status}
      assert_received {:mix_shell, :error, [message]}
      assert message =~ words
    end
  end

  describe "an example that is watched" do
    defp watch(input, round) do
      test = self()
      output = capture_io(input, fn -> send(test, {:status, Watched.run(0, round)}) end)
      assert_received {:status, status}
      {status, output}
    end

    test "goes on until Enter is pressed, and has the page as long" do
      test = self()

      round = fn ->
        send(test, {:round, Dashboard.url()}) && 0
      end

      {0, output} = watch("\n", round)
      assert_received {:round, url}
      assert output =~ "Watch it: #{url}"
      assert gone?(url)
      assert Process.whereis(Dashboard) == nil
    end

    test "ends where a round fails, with what that gives" do
      test = self()
      round = fn -> send(test, :round) && if(Process.put(:before, true), do: 2, else: 0) end
      {2, _output} = watch("", round)
      assert_received :round
      assert_received :round
      refute_received :round
    end

    test "is not run where the page can't be" do
      {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      {:ok, port} = :inet.port(socket)

      errors =
        capture_io(:stderr, fn -> assert Watched.run(port, fn -> flunk("run") end) == 3 end)

      assert errors =~ "dashboard: port #{port} is taken"
    end
  end
end
