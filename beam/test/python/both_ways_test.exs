defmodule Slither.Python.BothWaysTest do
  # What a worker's process is, does and ends as: the same whether it was spawned or forked.
  use ExUnit.Case, async: true

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.Error
  alias Slither.Python.Pool

  @ways [:spawn, :fork]

  defp pool(way, options \\ []) do
    defaults = [start: way, preload: ["way_handlers"], paths: [handlers()]]
    ready_pool(Keyword.merge(defaults, options))
  end

  defp tell(pool, function, payload \\ 0),
    do: call(pool, function, payload, module: "way_handlers")

  # From as many workers as there are: each call is held by one.
  defp tell_all(pool, function, count) do
    {:ok, items} =
      Slither.dispatch(
        List.duplicate(0, count * 8),
        options(pool, function, module: "way_handlers", batch_size: 1, max_in_flight: count)
      )

    Enum.uniq(for item <- items, do: item.payload)
  end

  for way <- @ways do
    describe "a worker, #{way}ed," do
      @describetag way: way

      test "leads its group, has its hooks run, and is as a process should be", %{way: way} do
        pool = pool(way)
        assert {:ok, about} = tell(pool, "about")
        assert [os_pid] = os_pids(pool, :ready)
        assert %{"pid" => ^os_pid, "group" => ^os_pid, "started" => [^os_pid]} = about
        assert %{"main" => true, "native" => ^os_pid, "stdin" => %{data: ""}} = about
        assert %{"faults" => true, "collects" => true} = about
        assert about["sigint"] =~ "SIG_IGN"
        assert about["sigchld"] =~ "SIG_DFL"
        # SIGKILL, once its parent is gone.
        assert about["dies_with"] == 9
        assert about["seen_by_c"] == "0"
      end

      test "is told apart by its slot, and draws numbers of its own", %{way: way} do
        pool = pool(way, size: 3)
        slots = for about <- tell_all(pool, "about", 3), do: about["seen_by_c"]
        assert Enum.uniq(slots) -- ["0", "1", "2"] == []
        drawn = tell_all(pool, "drawn", 3)
        assert drawn == Enum.uniq(drawn)
        for numbers <- Enum.zip_with(drawn, & &1), do: assert(numbers == Enum.uniq(numbers))
      end

      test "starts others, and knows how they end", %{way: way} do
        pool = pool(way)
        assert {:ok, found} = tell(pool, "runs_others")

        assert found == %{
                 "subprocess" => "hi",
                 "status" => 3,
                 "system" => 4,
                 "fork" => 7,
                 "multiprocessing" => [[1, 2], [1, 2]]
               }

        assert {:ok, os_pid} = tell(pool, "forks_and_returns")
        assert os_pids(pool, :ready) == [os_pid]
        assert tell(pool, "connects") == {:ok, "hello"}
        assert %{died: 0} = status(pool)
      end

      for {how, details, message} <- [
            {"status", %{status: 3, signal: nil}, "exit status 3"},
            {"thread", %{status: 9, signal: nil}, "exit status 9"},
            {"abort", %{status: 134, signal: 6}, "signal 6 (SIGABRT)"},
            {"crash", %{status: 139, signal: 11}, "signal 11 (SIGSEGV)"},
            {"kill", %{status: 137, signal: 9}, "signal 9 (SIGKILL)"},
            {"term", %{status: 143, signal: 15}, "signal 15 (SIGTERM)"}
          ] do
        test "that ends by #{how} is known to, and another starts", %{way: way} do
          pool = pool(way)
          [old] = os_pids(pool, :ready)
          assert {:error, failed} = tell(pool, "ends", unquote(how))
          error = Map.get(failed, :cause) || failed
          assert %Error{reason: :worker_died, details: details} = error
          expected = unquote(Macro.escape(details))
          assert Map.take(details, Map.keys(expected)) == expected
          assert details.os_pid == old
          assert Exception.message(error) =~ unquote(message)

          if unquote(how) in ["abort", "crash"],
            do: assert(details.fatal_error =~ "way_handlers.py")

          assert {:ok, %{"pid" => new}} = tell(pool, "about")
          assert new != old
          refute alive?(old)
        end
      end

      test "ends in order, once: its hooks, and what was registered for its exit", %{way: way} do
        notes = Path.dirname(path("x"))
        pool = pool(way, size: 2, env: [{"NOTES", notes}], shutdown: 30_000)
        pids = os_pids(pool, :ready)
        stop_supervised!(pool)
        expected = for what <- ["exit", "stop"], pid <- pids, do: "#{what}-#{pid}"
        assert Enum.sort(File.ls!(notes)) == Enum.sort(expected)
        for name <- expected, do: assert(File.read!(Path.join(notes, name)) == "x")
        for pid <- pids, do: refute(alive?(pid))
      end

      test "has what it says told, each once, with its call", %{way: way} do
        name = unique(:says)
        listen(name)
        pool = pool(way, name: name)
        assert tell(pool, "says", "it") == {:ok, "it"}

        for what <- ["printed", "told", "logged", "written", "echoed"] do
          text = "#{what} it"
          assert_receive {:log, _level, ^text, %{worker: 0, call: 1}}, patience()
        end

        # They were all: another call brings as many more, and none of the first again.
        assert tell(pool, "says", "again") == {:ok, "again"}
        assert_receive {:log, _level, "echoed again", _metadata}, patience()
        refute_received {:log, _level, "printed it", _metadata}
      end

      test "that can't start says why", %{way: way} do
        for {text, said} <- [
              {"import sys\nsys.exit('not today')", "not today"},
              {"raise KeyError('a')", "KeyError"},
              {"import os\nos._exit(5)", "exit status 5"},
              {"import os\nos.abort()", "SIGABRT"}
            ] do
          folder = own_module("stillborn", text)
          pool = start_pool(start: way, preload: ["stillborn"], paths: [folder])
          assert {:error, %Error{reason: :pool_unavailable} = error} = Pool.await_ready(pool)
          assert %{start_reason: :start_failed} = error.details
          assert Exception.message(error) =~ said
        end
      end

      test "that takes too long to start is ended, and where it was is told", %{way: way} do
        folder = own_module("endless", "while True:\n    pass")
        options = [preload: ["endless"], paths: [folder], startup_timeout: 1_000]
        pool = start_pool([start: way] ++ options)
        assert {:error, %Error{reason: :pool_unavailable} = error} = Pool.await_ready(pool)
        assert Exception.message(error) =~ "1000 ms"
        assert Exception.message(error) =~ "endless.py"
      end

      test "whose module forks as it is imported goes on as one", %{way: way} do
        folder =
          own_module("forking", """
          import os
          kept = os.getpid()
          pid = os.fork()
          if pid == 0:
              pass
          else:
              os.waitpid(pid, 0)
          def who(items): return [os.getpid() for _ in items]
          """)

        pool = pool(way, preload: ["forking"], paths: [folder])
        [os_pid] = os_pids(pool, :ready)
        assert call(pool, "who", 0, module: "forking") == {:ok, os_pid}
      end

      test "keeps the handlers of signals that its modules install", %{way: way} do
        folder =
          own_module("signalled", """
          import os, signal
          came = []
          signal.signal(signal.SIGUSR1, lambda number, frame: came.append(os.getpid()))
          def send(items):
              os.kill(os.getpid(), signal.SIGUSR1)
              return [came[:] for _ in items]
          """)

        pool = pool(way, preload: ["signalled"], paths: [folder])
        [os_pid] = os_pids(pool, :ready)
        assert call(pool, "send", 0, module: "signalled") == {:ok, [os_pid]}
      end

      test "is stopped with what a module has started as it was imported", %{way: way} do
        folder =
          own_module("starting", """
          import subprocess
          child = subprocess.Popen(["sleep", "1000"])
          def pid(items): return [child.pid for _ in items]
          """)

        pool = pool(way, preload: ["starting"], paths: [folder])
        assert {:ok, child} = call(pool, "pid", 0, module: "starting")
        assert alive?(child)
        stop_supervised!(pool)
        assert ends?(child)
      end
    end
  end

  test "forked and spawned workers have the same surroundings" do
    [spawned, forked] =
      for way <- @ways do
        {:ok, about} = tell(pool(way), "about")
        Map.take(about, ~w(threads collects faults sigint sigchld blocked argv cwd priority core
                           dies_with environment))
      end

    assert forked == spawned
  end
end
