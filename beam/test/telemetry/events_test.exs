defmodule Slither.Telemetry.EventsTest do
  # Every event, caused from outside: how often it comes, and the names of what it carries, as
  # `events.txt` has them.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Bridge, Dispatch, Pipe, Session, Telemetry}
  alias Slither.Pipe.{Names, Runner}
  alias Slither.Python.Pool
  alias Slither.Store.Server
  alias Slither.Test.{Snapshot, Stores}

  @expected Path.expand("events.txt", __DIR__)

  # As the table of `Slither.Telemetry` lists them.
  defp documented do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Telemetry)

    for [row] <- Regex.scan(~r/^\| `\[([^\]]*)\]`/m, text, capture: :all_but_first),
        names = String.split(row, ", "),
        last <- names |> List.last() |> String.split("\\|"),
        do: for(":" <> name <- Enum.drop(names, -1) ++ [last], do: String.to_atom(name))
  end

  @doc false
  def told(event, measurements, metadata, {test, ours?}) do
    if ours?.(test, metadata), do: send(test, {:told, event, measurements, metadata})
  end

  # What `fun` causes. An event is the scenario's own if `ours?` says so; `fun` returns the event that
  # comes last.
  defp record(scenario, ours?, fun) do
    id = {__MODULE__, make_ref()}
    :ok = Telemetry.attach(id, documented(), &__MODULE__.told/4, {self(), ours?})
    last = fun.()
    events = collect(last, [])
    Telemetry.detach(id)

    for {line, times} <- events |> Enum.frequencies() |> Enum.sort(),
        do: "#{scenario}: #{times} x #{line}"
  end

  defp collect(last, events) do
    assert_receive {:told, event, measurements, metadata}, patience()
    events = [line(event, measurements, metadata) | events]
    if event == last, do: rest(events), else: collect(last, events)
  end

  defp rest(events) do
    receive do
      {:told, event, measurements, metadata} ->
        rest([line(event, measurements, metadata) | events])
    after
      0 -> events
    end
  end

  defp line(event, measurements, metadata) do
    reason = if is_atom(metadata[:reason]) and metadata[:reason], do: " #{metadata.reason}"
    "#{Enum.join(event, ".")}#{reason} | #{keys(measurements)} | #{keys(metadata)}"
  end

  defp keys(map), do: map |> Map.keys() |> Enum.sort() |> Enum.join(" ")

  defp own(test, _metadata), do: self() == test
  defp of_pool(pool), do: fn _test, metadata -> metadata[:pool] == pool end

  defp of_template(pool) do
    fn _test, metadata -> metadata[:pool] == pool and not is_map_key(metadata, :worker) end
  end

  defp of_name(name), do: fn _test, metadata -> metadata[:name] == name end
  defp of_store(store), do: fn _test, metadata -> metadata[:store] == store end

  defp dispatches do
    pool = ready_pool()
    common = [module: "flow_handlers", batch_size: 2]
    run = &Dispatch.run(1..4, options(pool, &1, &2 ++ common))

    record("a dispatch", &own/2, fn ->
      {:ok, _items} = run.("double", [])
      [:slither, :dispatch, :run, :stop]
    end) ++
      record("a dispatch that fails", &own/2, fn ->
        # One at a time: whether a second batch fails before the run ends is chance.
        {:error, _error, _items} = run.("too_few", max_in_flight: 1)
        [:slither, :dispatch, :run, :exception]
      end)
  end

  defp calls do
    pool = ready_pool()

    record("a call", &own/2, fn ->
      {:ok, 3.0} = Slither.call("math", "sqrt", [9], pool: pool)
      [:slither, :call, :stop]
    end) ++
      record("a call of an item that fails", &own/2, fn ->
        {:error, %{reason: :python_exception}} = Slither.call("math", "sqrt", [-1], pool: pool)
        [:slither, :call, :stop]
      end) ++
      record("a call of many values", &own/2, fn ->
        options = [pool: pool]
        [0, 1] = "builtins" |> Slither.stream_call("range", [1_000], options) |> Enum.take(2)
        [:slither, :call, :stop]
      end) ++
      record("a call of many values that fails", &own/2, fn ->
        assert_raise Slither.Error, fn ->
          Enum.to_list(Slither.stream_call("math", "sqrt", [-1], pool: pool))
        end

        [:slither, :call, :exception]
      end) ++
      record("a call that fails", &own/2, fn ->
        {:error, %{reason: :import_failed}} = Slither.call("no_module", "f", [], pool: pool)
        [:slither, :call, :exception]
      end)
  end

  defmodule Sample do
    use Slither.Pipe

    pipe :sample do
      stage(:fake, :python,
        executor: Slither.Test.FunExecutor,
        executor_options: [fun: &__MODULE__.answer/1],
        batch_size: 2,
        max_in_flight: 1
      )

      stage(:beam, :beam, handler: & &1.payload)
      stage(:route, :router, routes: [{&(&1.payload > 2), :big}])
      output(:big)
    end

    def answer(payloads), do: if(0 in payloads, do: {:error, :zero}, else: {:ok, payloads})
  end

  defp pipes do
    record("a pipe", &own/2, fn ->
      {:ok, _outputs} = Runner.run(Sample, 1..4)
      [:slither, :pipe, :run, :stop]
    end) ++
      record("a pipe that fails", &own/2, fn ->
        {:error, _error, _partial} = Runner.run(Sample, [1, 2, 0])
        [:slither, :pipe, :run, :exception]
      end)
  end

  defp gathers do
    name = unique(:events_gather)
    pool = unique(:events_functions)
    one = fn payloads -> if 0 in payloads, do: raise("zero"), else: payloads end
    functions = %{"m.one" => one}
    start_supervised!({Slither.Testing.Pool, name: pool, functions: functions}, id: pool)
    options = [name: name, module: "m", function: "one", pool: pool]
    start_supervised!({Slither.Gather, options}, id: name)
    ours? = fn _test, metadata -> metadata[:gather] == name end

    record("a gather", ours?, fn ->
      {:ok, 1} = Slither.Gather.call(name, 1)
      [:slither, :gather, :batch, :stop]
    end) ++
      record("a gather that fails", ours?, fn ->
        {:error, _error} = Slither.Gather.call(name, 0)
        [:slither, :gather, :batch, :exception]
      end)
  end

  defp long_running do
    name = unique(:events_pipe)
    sinks = [default: fn _item -> raise "no sink" end, big: fn _item -> :ok end]

    record("a long-running pipe", of_name(name), fn ->
      start_supervised!({Pipe, {Sample, name: name, sinks: sinks}}, id: name)
      :ok = Pipe.push(name, [1])
      :ok = Pipe.drain(name)
      {:ok, server, _counts} = Names.find(:server, name)
      Process.exit(server, :kill)
      [:slither, :pipe, :restart]
    end)
  end

  defp reloads do
    pool = unique(:events_watched)
    file = path("watched_for_events.py")
    File.write!(file, "")

    # When the workers go that were replaced is another matter.
    ours? = fn _test, metadata -> metadata[:pool] == pool and is_map_key(metadata, :file) end

    record("a watched pool", ours?, fn ->
      options = [watch: true, preload: ["watched_for_events"], paths: [Path.dirname(file)]]
      ready_pool([name: pool] ++ options)
      File.write!(file, "changed = True")
      [:slither, :pool, :reload]
    end)
  end

  defp elastic do
    pool = unique(:events_elastic)
    ours? = fn _test, metadata -> metadata[:pool] == pool and is_map_key(metadata, :why) end
    go = path("go")

    record("a pool that grows and shrinks", ours?, fn ->
      ready_pool(name: pool, size: 1..2, grow_after: 1, idle: 100)
      calls = for _ <- 1..2, do: Task.async(fn -> call(pool, "hold", go) end)
      for _ <- calls, do: await_running(pool)
      File.touch!(go)
      Task.await_many(calls, patience())
      [:slither, :pool, :shrink]
    end)
  end

  defp pools do
    pool = unique(:events_pool)
    [moves, stops] = for word <- ["moves", "stops"], do: "#{word}-#{pool}"

    record("a pool", of_pool(pool), fn ->
      ready_pool(name: pool)
      {:error, %{reason: :worker_died}} = call(pool, "leave", 3)
      old = await_up(pool)
      {:ok, ^old} = call(pool, "hold", "/")

      for id <- [moves, stops] do
        remember = [pool: pool, session_id: id, module: "moving_handlers", function: "remember"]
        {:ok, _items} = Dispatch.run([id], remember)
      end

      :ok = Session.stop(stops)
      :ok = Pool.restart(pool)
      :restart = await_down(pool, old)
      :ok = stop_supervised(pool)
      [:slither, :pool, :worker, :down]
    end)
  end

  # A template whose process is killed, another that is asked to leave by a restart, and what can't
  # be forked.
  defp templates do
    pool = unique(:events_pool)
    threads = unique(:events_pool)

    record("a template", of_template(pool), fn ->
      ready_pool(name: pool, size: 1, start: :fork)

      [parent, old] =
        for name <- ["getppid", "getpid"], do: Slither.call!("os", name, [], pool: pool)

      {_output, 0} = System.cmd("kill", ["-KILL", "#{parent}"])
      await_down(pool, old)
      await_up(pool)
      :ok = stop_supervised(pool)
      [:slither, :template, :down]
    end) ++
      record("a template with threads", of_template(threads), fn ->
        ready_pool(name: threads, size: 1, start: :fork, preload: ["threaded_at_import"])
        [:slither, :template, :refused]
      end)
  end

  defp stores do
    store = Stores.define()
    empty = Stores.define(load: fn _tables -> {:error, :no_data} end)

    record("a store", of_store(store), fn ->
      start_supervised!({Server, store})
      :ok = Server.put(store, :items, 1, 1)
      true = Server.put_new(store, :items, 2, 2)
      :ok = Server.bulk_insert(store, :items, [{3, 3}, {4, 4}])
      {:ok, 3} = Server.update(store, :items, 1, &(&1 + 2))
      4 = Server.update_counter(store, :items, 1, 1)
      :ok = Server.delete(store, :items, 2)
      3 = Server.take(store, :items, 3)
      nil = Server.take(store, :items, :none)
      :ok = Server.reload(store)
      [:slither, :store, :reload, :stop]
    end) ++
      record("a store that can't load", of_store(empty), fn ->
        Process.flag(:trap_exit, true)
        {:error, :no_data} = Server.start_link(empty)
        start_supervised!({Server, {empty, on_load_error: :start_empty}})
        {:error, :no_data} = Server.reload(empty)
        [:slither, :store, :reload, :exception]
      end)
  end

  defp rates do
    name = "events_rate_#{System.unique_integer([:positive])}"
    start_supervised!({Slither.Rate, name: name, items: 1, per: 1})

    record("a rate", fn _test, meta -> meta[:rate] == name end, fn ->
      :ok = Slither.Rate.pause(name, 10)
      [:slither, :rate, :paused]
    end)
  end

  defp views do
    name = "events_view_#{System.unique_integer([:positive])}"

    views = [
      %{name: "#{name}_fine", handler: fn _ -> 1 end},
      %{name: "#{name}_raises", handler: fn _ -> raise "no" end},
      %{name: "#{name}_slow", handler: fn _ -> Process.sleep(:infinity) end, timeout_ms: 30}
    ]

    store = Stores.start(views: Enum.map(views, &Map.put(&1, :scope, :global)))

    for {key, last} <- [fine: :stop, raises: :exception, slow: :exception] do
      record("a view, #{key}", fn _test, meta -> meta[:store] == store and meta[:view] end, fn ->
        _answer = Bridge.call("#{name}_#{key}", %{})
        [:slither, :bridge, :view, last]
      end)
    end
    |> Enum.concat()
  end

  @tag :capture_log
  test "events come as often, and carry what, they are documented to" do
    told =
      dispatches() ++
        calls() ++
        gathers() ++
        pipes() ++
        long_running() ++
        pools() ++
        elastic() ++
        templates() ++ reloads() ++ stores() ++ rates() ++ views()

    Snapshot.assert_same(told, @expected)

    for event <- documented(),
        do: assert(Enum.any?(told, &(&1 =~ ~r/ x #{Enum.join(event, ".")} /)), inspect(event))
  end

  test "each event that can be emitted is documented, and emitted by its own module" do
    lib = Path.expand("../../lib/slither", __DIR__)
    source = Path.join(lib, "telemetry/events.ex")

    {_ast, lists} =
      source |> File.read!() |> Code.string_to_quoted!() |> Macro.prewalk([], &lists/2)

    events = Enum.uniq(lists)
    assert length(events) > 10

    for event <- events,
        do: assert(Enum.any?(documented(), &same?(&1, event)), Macro.to_string(event))

    for file <- Path.wildcard(Path.join(lib, "**/*.ex")), file != source do
      text = File.read!(file)
      name = if file =~ ~r"/telemetry.ex$", do: "Events.", else: "Telemetry.execute("
      refute text =~ name, "#{file} emits an event itself"
    end
  end

  defp lists([:slither | _] = list, found), do: {list, [list | found]}
  defp lists(other, found), do: {other, found}

  # What is a variable in the source stands for any name.
  defp same?(event, list) when length(event) == length(list),
    do:
      event
      |> Enum.zip(list)
      |> Enum.all?(fn {name, part} -> not is_atom(part) or name == part end)

  defp same?(_event, _list), do: false
end
