defmodule Slither.Pipe.FromPythonTest do
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.Pipe

  # Modules and pipes are known by name to the whole node.
  setup do
    n = System.unique_integer([:positive])
    folder = Path.dirname(path("x"))
    pool = start_pool(paths: [handlers(), folder])
    %{pool: pool, os_pid: await_up(pool), folder: folder, module: "pipes_#{n}", name: "pipe_#{n}"}
  end

  defp write(%{folder: folder, module: module}, text),
    do: File.write!(Path.join(folder, module <> ".py"), text)

  defp pipe(%{name: name}, body),
    do: "from slither import Pipe, item\np = Pipe('#{name}')#{body}\n"

  defp run(name, input, options \\ []) do
    {:ok, outputs} = Slither.run_pipe(name, input, options)
    for {name, [_ | _] = items} <- outputs, into: %{}, do: {name, Enum.map(items, & &1.payload)}
  end

  describe "from_python/3" do
    test "takes the pipes of a module, which run under their names", context do
      write(context, """
      from slither import Pipe, item
      from slither.pipe import retry

      def score(rows: list) -> list:
          return [{**row, "score": len(row["text"]) / 10} for row in rows]

      score_pipe = (
          Pipe("#{context.name}")
          .beam("prepare", {"text": item})
          .python("predict", score, batch_size=2, max_in_flight=2)
          .route("route", accept=item["score"] >= 0.8, review=item["score"] >= 0.4)
          .output("accept", "review")
          .on_error("*", "halt")
      )
      same = score_pipe
      _hidden = Pipe("hidden").beam("x", item)
      """)

      name = context.name
      assert Pipe.from_python(context.pool, context.module) == {:ok, [name]}

      assert run(name, ["a", "third", "a long text", "b"]) == %{
               "accept" => [%{"score" => 1.1, "text" => "a long text"}],
               "review" => [%{"score" => 0.5, "text" => "third"}],
               "default" => [%{"score" => 0.1, "text" => "a"}, %{"score" => 0.1, "text" => "b"}]
             }

      streamed = name |> Slither.stream_pipe(["a long text"]) |> Enum.to_list()
      assert [{"accept", %{payload: %{"score" => 1.1}}}] = streamed
    end

    test "called again, takes the module as it is then", context do
      write(context, pipe(context, ".beam('x', item + 1)"))
      assert {:ok, _} = Pipe.from_python(context.pool, context.module)
      assert run(context.name, [1]) == %{"default" => [2]}

      # As long as before, and within the same second: no cache may be believed.
      write(context, pipe(context, ".beam('x', item + 2)"))
      assert {:ok, _} = Pipe.from_python(context.pool, context.module)
      assert run(context.name, [1]) == %{"default" => [3]}

      write(
        context,
        "from slither import Pipe, item\nq = Pipe('#{context.name}-q').beam('x', item)"
      )

      assert {:ok, _} = Pipe.from_python(context.pool, context.module)
      assert {:error, %{reason: :unknown_pipe} = error, %{}} = Slither.run_pipe(context.name, [1])
      assert Exception.message(error) =~ "Did you mean \"#{context.name}-q\"?"
    end

    test "leaves a run that has begun as it is", context do
      write(context, pipe(context, ".beam('x', item + 1)"))
      {:ok, _} = Pipe.from_python(context.pool, context.module)
      stream = Slither.stream_pipe(context.name, Stream.repeatedly(fn -> 1 end))

      values =
        stream
        |> Stream.with_index()
        |> Stream.map(fn {{"default", item}, index} ->
          if index == 0 do
            write(context, pipe(context, ".beam('x', item + 2)"))
            {:ok, _} = Pipe.from_python(context.pool, context.module)
          end

          item.payload
        end)
        |> Enum.take(200)

      assert Enum.uniq(values) == [2]
      assert run(context.name, [1]) == %{"default" => [3]}
    end

    test "a module that fails to import changes nothing, and says why", context do
      write(context, pipe(context, ".beam('x', item + 1)"))
      {:ok, _} = Pipe.from_python(context.pool, context.module)

      write(context, "import slither\n\n1 / 0\n")
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.reason == :python_exception
      assert error.python.type == "ZeroDivisionError"
      assert error.python.traceback =~ "#{context.module}.py\", line 3"

      write(context, "import slither_no_such_module")
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.reason == :import_failed
      assert Exception.message(error) =~ "slither_no_such_module"

      write(context, "import os; os._exit(7)")
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.reason == :import_failed
      assert Exception.message(error) =~ "ended with status 7"

      write(context, "import sys; sys.exit('no')")

      assert {:error, %{python: %{type: "SystemExit"}}} =
               Pipe.from_python(context.pool, context.module)

      assert run(context.name, [1]) == %{"default" => [2]}
    end

    test "a mistake in a definition names the line in Python", context do
      write(context, pipe(context, ".route('r', nowhere=item > 1)"))
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.python.type == "PipeError"
      assert Exception.message(error) =~ "#{context.module}.py:2: stage 'r': output 'nowhere'"
    end

    test "a mistake that only BEAM sees names the path in the document", context do
      write(context, pipe(context, ".beam('x', item).beam('y', 'no_such_function')"))
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.reason == :invalid_document
      assert error.details.path == "stages[1].function"

      write(context, pipe(context, ".store('no_such_table').beam('x', item)"))
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.details.path == "stores[0].table"
    end

    test "a module without pipes is an error, and so is no module's name", context do
      write(context, "x = 1")
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert error.reason == :no_pipes
      assert {:error, %{reason: :import_failed}} = Pipe.from_python(context.pool, "no_such_pipes")
      assert {:error, %{reason: :invalid_input}} = Pipe.from_python(context.pool, :pipes)

      assert {:error, %{reason: :unknown_option}} =
               Pipe.from_python(context.pool, "x", tiemout: 1)

      assert {:error, %{reason: :unknown_pool}} = Pipe.from_python(unique(:none), "x")
    end

    test "two pipes of one name are an error", context do
      twice = "\nfrom slither import Pipe, item\nq = Pipe('#{context.name}').beam('x', item)"
      write(context, pipe(context, ".beam('x', item + 1)") <> twice)
      assert {:error, error} = Pipe.from_python(context.pool, context.module)
      assert Exception.message(error) =~ "two pipes named '#{context.name}'"
    end

    test "another module's pipe keeps its name, unless it is the same pipe", context do
      write(context, pipe(context, ".beam('x', item + 1)"))
      {:ok, _} = Pipe.from_python(context.pool, context.module)

      other = %{context | module: context.module <> "_other"}
      write(other, "from #{context.module} import p")
      assert {:ok, _} = Pipe.from_python(context.pool, other.module)

      write(other, pipe(context, ".beam('x', item + 2)"))
      assert {:error, error} = Pipe.from_python(context.pool, other.module)
      assert error.reason == :duplicate
      assert Exception.message(error) =~ context.module
      assert run(context.name, [1]) == %{"default" => [2]}
    end

    test "ends with its worker when importing takes too long", context do
      write(context, "import time\nwhile True:\n    time.sleep(60)")

      assert {:error, %{reason: :timeout}} =
               Pipe.from_python(context.pool, context.module, timeout: 300)
    end

    test "leaves no interpreter behind when its worker dies", context do
      pipe = Path.join(context.folder, "pid")
      {"", 0} = System.cmd("mkfifo", [pipe])

      write(context, """
      import os, time
      with open("#{pipe}", "w") as file:
          file.write(str(os.getpid()))
      while True:
          time.sleep(60)
      """)

      options = [timeout: :infinity]
      reading = Task.async(fn -> Pipe.from_python(context.pool, context.module, options) end)
      {pid, 0} = System.cmd("cat", [pipe])
      signal(context.os_pid, "KILL")
      assert {:error, %{reason: :worker_died}} = Task.await(reading, patience())
      assert pid |> String.to_integer() |> ends?()
    end

    test "what the module prints is logged, and its threads are not waited for", context do
      listen(context.pool)

      write(
        context,
        """
        import threading, time
        print("from the module")
        threading.Thread(target=time.sleep, args=(3600,)).start()
        """ <> pipe(context, ".beam('x', item)")
      )

      assert {:ok, _} = Pipe.from_python(context.pool, context.module)
      assert_receive {:log, :info, "from the module", _metadata}, patience()
    end

    test "workers keep the handlers and commands they have, until they are new", context do
      write(context, """
      from slither import Pipe, item
      from slither.worker import batch_handler

      @batch_handler("#{context.name}")
      def add(rows: list) -> list:
          return [row + 1 for row in rows]

      p = Pipe("#{context.name}").python("x", add).python("y", command="#{context.name}")
      """)

      {:ok, _} = Pipe.from_python(context.pool, context.module)
      assert run(context.name, [1]) == %{"default" => [3]}

      text = File.read!(Path.join(context.folder, context.module <> ".py"))
      write(context, String.replace(text, "+ 1", "+ 9"))
      {:ok, _} = Pipe.from_python(context.pool, context.module)
      assert run(context.name, [1]) == %{"default" => [3]}

      # Python knows compiled code by its source's second and size, and both are the same.
      File.rm_rf!(Path.join(context.folder, "__pycache__"))
      assert Slither.Python.Pool.restart(context.pool) == :ok
      assert run(context.name, [1]) == %{"default" => [19]}
    end
  end

  describe "a Python stage's weight and key" do
    test "make batches", context do
      write(context, """
      from slither import Pipe, item

      def sizes(rows: list) -> list:
          return [[row, len(rows)] for row in rows]

      keyed = Pipe("#{context.name}-k").python("x", sizes, key=item % 2, window=5)
      weighed = Pipe("#{context.name}-w").python("x", sizes, weight=item, max_weight=4)
      """)

      {:ok, _} = Pipe.from_python(context.pool, context.module)
      input = [1, 2, 3, 4, 5]

      assert run("#{context.name}-k", input) ==
               %{"default" => [[1, 3], [2, 2], [3, 3], [4, 2], [5, 3]]}

      assert run("#{context.name}-w", input) ==
               %{"default" => [[1, 2], [2, 2], [3, 1], [4, 1], [5, 1]]}
    end

    test "fail the item that has none, by the stage's policy", context do
      write(context, """
      from slither import Pipe, item
      from slither.pipe import route

      def same(rows: list) -> list:
          return rows

      p = (
          Pipe("#{context.name}")
          .route("way", x=item["way"] == "x")
          .beam("between", item)
          .python("x", same, weight=item["n"], max_weight=4)
          .output("bad")
          .on_error("x", route("bad"))
      )
      """)

      {:ok, _} = Pipe.from_python(context.pool, context.module)

      good = %{"way" => "x", "n" => 1}
      bad = [%{"way" => "x"}, %{"way" => "", "n" => -1}, %{"way" => "", "n" => "1"}]
      {:ok, outputs, receipt} = Slither.run_pipe(context.name, [good | bad], receipt: true)
      assert [%{payload: ^good}] = outputs["default"]
      assert Enum.map(outputs["bad"], & &1.payload) == bad

      messages = for item <- outputs["bad"], do: Exception.message(item.meta.error)
      assert Enum.at(messages, 0) =~ ~s(stage "x.weight")
      assert Enum.at(messages, 0) =~ ~s(there is no key "n")
      assert Enum.at(messages, 1) =~ "a weight is a number of 0 or more, got -1"
      assert %{in: 4, out: 1, routed: 3} = receipt
    end
  end

  describe "a pipe's name" do
    test "that nobody has is an error with those there are", context do
      write(context, pipe(context, ".beam('x', item)"))
      {:ok, _} = Pipe.from_python(context.pool, context.module)
      near = String.replace(context.name, "pipe", "pip")
      assert {:error, error, %{}} = Slither.run_pipe(near, [])
      assert error.reason == :unknown_pipe
      assert Exception.message(error) =~ inspect(context.name)
      assert_raise Slither.Error, fn -> near |> Slither.stream_pipe([]) |> Enum.to_list() end
    end
  end

  test "a handler knows the pipe and the stage it runs in", context do
    write(context, """
    from slither import Pipe, item
    from slither.worker import context

    def where(rows: list) -> list:
        return [[context().pipe, context().stage] for _ in rows]

    p = Pipe("#{context.name}").pipe("inner", Pipe("in").python("x", where))
    """)

    {:ok, _} = Pipe.from_python(context.pool, context.module)
    assert run(context.name, [1]) == %{"default" => [[context.name, "inner.x"]]}
  end
end
