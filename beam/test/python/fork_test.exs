defmodule Slither.Python.ForkTest do
  # Workers that are forked from a template. What they do once they are there is what all other
  # suites of workers test, in both ways.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Error
  alias Slither.Python.Pool

  defp forked(options), do: Keyword.put(options, :start, :fork)

  # A pool whose workers have imported this source as the module `own`.
  defp pool_of(source, options \\ []) do
    folder = Keyword.get_lazy(options, :folder, fn -> path("modules") end)
    File.mkdir_p!(folder)
    File.write!(Path.join(folder, "own.py"), source)
    own = [preload: ["own"], paths: [handlers(), folder]]
    start_pool(forked(own ++ Keyword.delete(options, :folder)))
  end

  defp run(pool, function, item \\ nil, options \\ []) do
    call(pool, function, item, [module: "own"] ++ options)
  end

  defp status(pool) do
    {:ok, status} = Pool.status(pool)
    status
  end

  test "what is imported is imported once, hooks of the template run once, those of a worker in each" do
    pool =
      pool_of(
        """
        import os
        from slither.worker import on_start, on_template

        imported = os.getpid()
        warm = []
        started = []

        @on_template
        def warm_up():
            warm.append(os.getpid())

        @on_start
        def start():
            started.append(os.getpid())

        def told(items):
            return [[os.getpid(), imported, warm, started] for _ in items]
        """,
        size: 2
      )

    pids = for slot <- 0..1, do: await_up(pool, slot)
    %{template: template, start: :fork, notes: []} = status(pool)
    assert {:ok, [pid, ^template, [^template], [pid]]} = run(pool, "told")
    assert pid in pids
    assert pid != template
  end

  test "each worker draws numbers of its own" do
    pool =
      pool_of(
        """
        import random
        import tempfile
        import uuid

        random.seed(1)

        def drawn(items):
            return [[random.random(), uuid.uuid4().hex, tempfile.mktemp()] for _ in items]
        """,
        max_calls: 1
      )

    drawn = for _ <- 1..4, do: run(pool, "drawn")
    values = for {:ok, values} <- drawn, value <- values, do: value
    assert length(Enum.uniq(values)) == 12
  end

  test "how a worker has ended is known as exactly as of one that was spawned" do
    pool =
      pool_of("""
      import os, signal

      def end(items):
          os._exit(items[0])

      def kill(items):
          os.kill(os.getpid(), items[0])
      """)

    assert {:error, error} = Pool.call(pool, ["function", "own", "end"], [7])
    assert %Error{reason: :worker_died, details: %{status: 7, signal: nil}} = error
    assert {:error, error} = Pool.call(pool, ["function", "own", "kill"], [9])
    assert %Error{reason: :worker_died, details: %{status: 137, signal: 9}} = error
    assert {:error, error} = Pool.call(pool, ["function", "own", "kill"], [11])
    assert %Error{reason: :worker_died, details: %{signal: 11}} = error
  end

  test "where threads run in the template, workers are spawned, and the pool says why" do
    pool = start_pool(forked(size: 1, preload: ["threaded_at_import"]))
    assert Pool.await_ready(pool, patience()) == :ok
    assert %{start: :spawn, template: nil, notes: [note]} = status(pool)
    assert note =~ "threads are running: left-behind"
    assert {:ok, _pid} = call(pool, "pid", 0, module: "lifecycle_handlers")
  end

  # pandas imports pyarrow, whose allocator has a thread.
  test "a thread of jemalloc's may run in the template, another of C's may not" do
    [allocator, other] =
      for name <- ["jemalloc_bg_thd", "crunching"] do
        options = [size: 1, preload: ["native_thread"], env: %{"THREAD_NAME" => name}]
        pool = start_pool(forked(options))
        assert Pool.await_ready(pool, patience()) == :ok
        status(pool)
      end

    assert %{start: :fork, notes: []} = allocator
    assert %{start: :spawn, notes: [note]} = other
    assert note =~ "threads are running: crunching (not Python's)"
  end

  test "a template that is killed takes its workers with it, and another one forks the next" do
    pool = ready_pool(forked(size: 1))
    %{template: template} = status(pool)
    [worker] = for %{os_pid: os_pid} <- status(pool).workers, do: os_pid
    signal(template, "KILL")
    assert_receive {:down, ^pool, %{os_pid: ^worker, error: error}}, patience()
    assert %Error{reason: :worker_died} = error
    assert error.message =~ ~r/^Python worker 0 \(pid #{worker}\) ended with its template$/
    assert ends?(worker)
    assert {:ok, other} = call(pool, "pid", 0, module: "lifecycle_handlers")
    assert other != worker
    assert %{template: next} = status(pool)
    assert is_integer(next) and next != template
  end

  test "one whose modules can't be imported is told as a worker's is" do
    pool = pool_of("raise LookupError('no model')")

    assert {:error, %Error{reason: :pool_unavailable} = error} =
             Pool.await_ready(pool, patience())

    assert error.message =~ "LookupError: no model"
  end

  test "a restart forks from what the files are now" do
    folder = path("modules")
    pool = pool_of("def version(items): return [1 for _ in items]", folder: folder)
    assert {:ok, 1} = run(pool, "version")
    write = "def version(items):\n    return [22 for _ in items]"
    File.write!(Path.join(folder, "own.py"), write)
    assert Pool.restart(pool) == :ok
    assert {:ok, 22} = run(pool, "version")
  end

  test "what a module prints as the template imports it is logged" do
    pool = unique(:test_pool)
    listen(pool)
    pool_of("print('loading the model')\ndef none(items): return items", name: pool)
    assert_receive {:log, :info, "loading the model", _facts}, patience()
  end

  test "the kernel, short of memory, would end workers before their template, and that before BEAM" do
    pool = ready_pool(forked(size: 1))
    %{template: template, workers: [%{os_pid: worker}]} = status(pool)

    [own, second, first] =
      for os_pid <- [System.pid(), template, worker] do
        "/proc/#{os_pid}/oom_score_adj" |> File.read!() |> String.trim() |> String.to_integer()
      end

    assert own < second and second < first
  end

  test "nothing is left of a pool that has stopped" do
    pool = ready_pool(forked(size: 2))
    %{template: template, workers: workers} = status(pool)
    assert stop_supervised!(pool) == :ok
    for os_pid <- [template | Enum.map(workers, & &1.os_pid)], do: assert(ends?(os_pid))
  end
end
