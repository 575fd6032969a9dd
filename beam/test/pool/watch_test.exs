defmodule Slither.Pool.WatchTest do
  # A watched pool: what workers have imported of the project changes on disk, and new ones take over.
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Lifecycle
  import Slither.Test.Pools

  alias Slither.{Error, Session, Telemetry}
  alias Slither.Python.{Environment, Pool, Sources}

  @reload [:slither, :pool, :reload]

  defp watched(folder, options) do
    name = unique(:watched)
    defaults = [name: name, size: 1, watch: true, paths: [folder, handlers()]]
    name = Keyword.get(options, :name, name)
    id = {__MODULE__, name}
    :ok = Telemetry.attach(id, @reload, &__MODULE__.reloaded/4, {self(), name})
    on_exit(fn -> Telemetry.detach(id) end)
    ready_pool(Keyword.merge(defaults, options))
  end

  @doc false
  def reloaded(@reload, measurements, %{pool: name} = metadata, {test, name}) do
    true = is_integer(measurements.duration)
    send(test, {:reloaded, name, metadata})
  end

  def reloaded(_event, _measurements, _metadata, _config), do: :ok

  # A text of one size, so that the size tells nobody that it is another.
  defp version(text),
    do: "def version(items): return ['#{String.pad_leading(text, 8)}' for _ in items]\n"

  defp folder(name, text), do: "x" |> path() |> Path.dirname() |> tap(&save(&1, name, text))
  defp save(folder, name, text), do: File.write!(Path.join(folder, name <> ".py"), text)

  defp says(pool, module, function \\ "version") do
    with {:ok, text} when is_binary(text) <- call(pool, function, 0, module: module),
         do: String.trim(text)
  end

  defp await_reload(pool) do
    assert_receive {:reloaded, ^pool, metadata}, patience()
    metadata
  end

  # The files that the pool's workers have told of are in its settings' table.
  defp told(pool) do
    {:ok, %{scheduler: scheduler}} = Pool.handle(pool)
    rows = Sources.rows(:sys.get_state(scheduler).settings.sources)
    Enum.sort(for {_owner, path, _name, _version} <- rows, do: path)
  end

  test "new code is served after a save of the same size in the same second, again and again" do
    folder = folder("twin", version("0"))
    listened = unique(:watched)
    listen(listened)
    Logger.put_module_level(Slither.Pool.Watcher, :info)
    pool = watched(folder, name: listened)
    assert says(pool, "twin") == "0"
    file = Path.join(folder, "twin.py")

    for round <- 1..4 do
      save(folder, "twin", version("#{round}"))
      assert %{file: ^file, files: [^file], error: nil} = await_reload(pool)
      assert says(pool, "twin") == "#{round}"
      assert_receive {:log, :info, text, %{pool: ^pool, driver: true}}, patience()
      assert text =~ "twin.py changed: the workers are replaced"
    end

    assert %{died: 0, started: 5} = status(pool)
    # Python has left nothing compiled beside it that could be taken for new.
    refute File.exists?(Path.join(folder, "__pycache__"))
  end

  test "no call under load is lost" do
    folder = folder("busy", version("old"))
    pool = watched(folder, size: 2)
    load = endless(pool, "version", module: "busy")
    await(fn -> length(told(pool)) == 2 end)
    save(folder, "busy", version("new"))
    assert %{error: nil} = await_reload(pool)
    assert says(pool, "busy") == "new"
    assert ["old", "new"] -- Enum.uniq(Enum.map(stop_endless(load), &String.trim/1)) == []
    assert %{died: 0} = status(pool)
  end

  test "files that are saved together, and what they import, are one restart" do
    folder =
      folder("top", "import below\ndef version(items): return [below.text for _ in items]\n")

    save(folder, "below", "text = 'old'\n")
    pool = watched(folder, preload: ["top"])
    assert says(pool, "top") == "old"
    files = for name <- ["below", "top"], do: Path.join(folder, name <> ".py")

    save(
      folder,
      "top",
      "import below\ndef version(items): return [below.text + '!' for _ in items]\n"
    )

    save(folder, "below", "text = 'new'\n")
    assert %{files: ^files} = await_reload(pool)
    assert says(pool, "top") == "new!"
    # The next one is of the next change.
    save(folder, "below", "text = 'newer'\n")
    assert %{files: [below]} = await_reload(pool)
    assert below == hd(files)
    assert says(pool, "top") == "newer!"
  end

  test "an editor that renames another file into its place, or empties the file first, is seen once" do
    folder = folder("edited", version("0"))
    pool = watched(folder, preload: ["edited"])
    file = Path.join(folder, "edited.py")
    File.write!(file <> ".tmp", version("1"))
    File.rename!(file <> ".tmp", file)
    await_reload(pool)
    assert says(pool, "edited") == "1"
    File.write!(file, "")
    File.write!(file, version("2"))
    await_reload(pool)
    assert says(pool, "edited") == "2"
    # What was there before is no change, nor is a file that is gone for a while.
    File.rm!(file)
    File.touch!(Path.join(folder, "other.py"))
    File.write!(file, version("2"))
    File.write!(file, version("3"))
    assert %{files: [^file]} = await_reload(pool)
    assert %{started: 4, died: 0} = status(pool)
  end

  test "a file with a mistake leaves those that serve, with file and line, and the next save is tried" do
    folder = folder("fragile", version("0"))
    listened = unique(:watched)
    listen(listened)
    # It is imported by a call alone: new workers import it first all the same.
    pool = watched(folder, name: listened, size: 2)
    assert says(pool, "fragile") == "0"
    before = os_pids(pool, :ready)
    save(folder, "fragile", "def version(items):\n    return [1 for _ in\n")
    assert %{error: %Error{reason: :start_failed} = error, file: file} = await_reload(pool)
    assert file == Path.join(folder, "fragile.py")
    assert Exception.message(error) =~ ~r/fragile\.py, line [23]/
    assert_receive {:log, :error, text, %{driver: true}}, patience()
    assert text =~ "no worker can start with"
    assert text =~ ~r/fragile\.py, line [23]/
    assert os_pids(pool, :ready) == before
    assert says(pool, "fragile") == "0"

    # What the mended file imports is new, and has a mistake of its own.
    save(folder, "added", "raise ValueError('not so')\n")
    save(folder, "fragile", "import added\n" <> version("1"))
    assert %{error: %Error{message: message}} = await_reload(pool)
    assert message =~ "not so"
    assert says(pool, "fragile") == "0"
    save(folder, "added", "fine = True\n")
    assert %{error: nil} = await_reload(pool)
    assert says(pool, "fragile") == "1"
    assert os_pids(pool, :ready) -- before == os_pids(pool, :ready)
  end

  test "a pool that can't start at all is tried again with the next save" do
    folder = folder("unborn", "import nothing_of_that_name\n")
    options = [size: 1, watch: true, preload: ["unborn"], paths: [folder]]
    pool = start_pool(options)
    assert {:error, %Error{reason: :pool_unavailable}} = Pool.await_ready(pool)
    save(folder, "unborn", version("born"))
    await_up(pool)
    assert says(pool, "unborn") == "born"
  end

  test "what changes while a restart waits for a call leads to another" do
    folder = folder("slow", version("0"))
    pool = watched(folder, preload: ["slow"])
    go = path("go")
    long = Task.async(fn -> run(pool, "hold", go) end)
    old = await_running(pool)
    save(folder, "slow", version("1"))
    # The new worker serves; the restart waits for the call of the old one.
    await_up(pool, 1)
    assert says(pool, "slow") == "1"
    save(folder, "slow", version("2"))
    File.touch!(go)
    assert Task.await(long, patience()) == {:ok, old}
    assert [%{error: nil}, %{error: nil}] = for(_ <- 1..2, do: await_reload(pool))
    assert says(pool, "slow") == "2"
    assert %{started: 3, died: 0} = status(pool)
  end

  test "a session stays with the worker that holds it, which goes on with the code it has" do
    folder = folder("pinned", version("0"))
    pool = watched(folder, preload: ["pinned"])
    session = "s-#{inspect(make_ref())}"
    assert {:ok, [old, 1]} = call(pool, "count", 1, session_id: session)
    save(folder, "pinned", version("1"))
    await_reload(pool)
    assert call(pool, "count", 1, session_id: session) == {:ok, [old, 2]}
    {:ok, text} = call(pool, "version", 0, module: "pinned", session_id: session)
    assert String.trim(text) == "0"
    assert says(pool, "pinned") == "1"
    # That one runs older code is known: it is no reason for another restart.
    save(folder, "pinned", version("2"))
    await_reload(pool)
    assert %{started: 3} = status(pool)
    assert Session.stop(session) == :ok
    assert await_down(pool, old) == :restart
    save(folder, "pinned", version("3"))
    await_reload(pool)
    assert %{started: 4, died: 0} = status(pool)
  end

  test "the script whose functions workers run is watched once they have run it" do
    script = path("script.py")
    File.write!(script, version("0"))
    pool = watched(Path.dirname(script), main: script)
    assert told(pool) == []
    assert says(pool, "__main__") == "0"
    File.write!(script, version("1"))
    assert %{file: ^script} = await_reload(pool)
    assert says(pool, "__main__") == "1"
  end

  test "only the project's files are watched, and those of other pools by nobody" do
    folder = folder("mine", "import json, slither.worker, msgpack\n" <> version("0"))
    packages = Path.join(folder, "site-packages")
    File.mkdir_p!(packages)
    save(packages, "bought", "")
    save(folder, "uses", "import mine, bought\n")
    pool = watched(folder, preload: ["uses"], paths: [folder, packages])
    assert told(pool) == for(name <- ["mine", "uses"], do: Path.join(folder, name <> ".py"))

    plain = ready_pool(preload: ["uses"], paths: [folder, packages])
    {:ok, %{scheduler: scheduler}} = Pool.handle(plain)
    assert :sys.get_state(scheduler).settings.sources == nil
  end

  test "a module that is made without a source of Python's is told with what its file holds" do
    folder = folder("shown", "")
    made = Path.join(folder, "made.data")
    File.write!(made, "one")

    save(folder, "shown", """
    import importlib.machinery, importlib.util, sys
    class Loader:
        def create_module(self, spec): return None
        def exec_module(self, module): module.text = open(module.__file__).read()
    spec = importlib.util.spec_from_file_location("made", #{inspect(made)}, loader=Loader())
    made = sys.modules["made"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    def version(items): return [made.text for _ in items]
    """)

    pool = watched(folder, preload: ["shown"])
    assert says(pool, "shown") == "one"
    File.write!(made, "two")
    assert %{file: ^made} = await_reload(pool)
    assert says(pool, "shown") == "two"
  end

  test "workers of an interpreter that is told to write no bytecode, and of one that has written it" do
    folder = folder("cached", version("0"))
    {:ok, python} = Environment.interpreter(nil)
    compile = "import py_compile; py_compile.compile('#{folder}/cached.py')"
    {_output, 0} = System.cmd(python, ["-c", compile])
    assert [_compiled] = Path.wildcard(Path.join(folder, "__pycache__/cached.*.pyc"))
    # Another text of the same size and second: the compiled one is taken for that.
    {:ok, %{mtime: saved}} = File.stat(Path.join(folder, "cached.py"), time: :posix)
    save(folder, "cached", version("1"))
    File.touch!(Path.join(folder, "cached.py"), saved)
    pool = watched(folder, preload: ["cached"])
    assert says(pool, "cached") == "1"
  end

  test "watch: takes true or false" do
    assert {:error, %Error{reason: :invalid_option} = error} = Pool.check(name: :p, watch: "yes")
    assert Exception.message(error) == "pool :p: option :watch takes true or false, got \"yes\""
  end
end
