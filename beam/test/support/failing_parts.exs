# Run by application_test.exs in a VM of its own, whose durable store loses its disk and one of whose
# pools ends. Says what the others have then, and what the store has when its disk is back.
[handlers, dir] = System.argv()

defmodule Failing.Store do
  @behaviour Slither.Store

  @impl true
  def tables, do: [%{name: :items, durable: true}]

  @impl true
  def load(_tables), do: :ok
end

alias Slither.Python.Pool
alias Slither.Store.{Directory, Server}
alias Slither.Test.FeatureStore

Application.load(:slither)

# What is wrong with a configuration is told at once.
Application.put_env(:slither, :stores, [{Failing.Store, dir: "/dev/null"}])
Application.ensure_all_started(:logger)
Logger.configure(level: :none)
{:error, {:slither, _reason}} = Application.ensure_all_started(:slither)
IO.puts("refused #{List.keymember?(Application.started_applications(), :slither, 0)}")

Application.put_env(:slither, :stores, [FeatureStore, {Failing.Store, dir: dir}])
pool = [paths: [handlers], size: 1]
Application.put_env(:slither, :pools, one: pool, two: pool)
{:ok, _} = Application.ensure_all_started(:slither)

:ok = Pool.await_ready(:one)
:ok = Pool.await_ready(:two)
:ok = Server.put(FeatureStore, :features, "written", 1)
:ok = Server.put(Failing.Store, :items, 1, :kept)

os_pid = fn pool ->
  options = [module: "slither_test_handlers", function: "pid", pool: pool]
  {:ok, [%{payload: pid}]} = Slither.dispatch([nil], options)
  pid
end

ended = fn pid ->
  monitor = Process.monitor(pid)
  receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
end

until = fn until, holds? -> holds?.() || until.(until, holds?) end
before = os_pid.(:two)

# The disk: what was a folder is none, so that the log can't be begun again.
instance = GenServer.whereis(Directory.via(Failing.Store, :instance))
File.rename!(dir, dir <> ".away")
File.write!(dir, "")
Process.exit(GenServer.whereis(Directory.via(Failing.Store, :owner)), :kill)
ended.(instance)
true = Failing.Store not in Server.stores()

# The process that would start it again is killed, too, while it can't.
child = fn supervisor, id ->
  {_id, pid, _type, _modules} = List.keyfind(Supervisor.which_children(supervisor), id, 0)
  pid
end

configured = child.(Slither.Store.Supervisor, :configured)
restarter = child.(configured, {Slither.Store.Restarter, Server.child_spec(Failing.Store).id})
Process.exit(restarter, :kill)
ended.(restarter)

until.(until, fn ->
  child.(configured, {Slither.Store.Restarter, Server.child_spec(Failing.Store).id}) not in [
    restarter,
    :restarting
  ]
end)

IO.puts("others #{Server.get(FeatureStore, :features, "written")} #{os_pid.(:two) == before}")

File.rm!(dir)
File.rename!(dir <> ".away", dir)
until.(until, fn -> Failing.Store in Server.stores() end)
IO.puts("back #{inspect(Server.get(Failing.Store, :items, 1))}")

# A pool whose scheduler can't live: its supervisor gives up.
{:ok, %{scheduler: scheduler}} = Pool.handle(:one)
[supervisor | _] = Process.info(scheduler, :dictionary) |> elem(1) |> Keyword.get(:"$ancestors")
supervisor = if is_pid(supervisor), do: supervisor, else: GenServer.whereis(supervisor)

until.(until, fn ->
  with {:ok, %{scheduler: scheduler}} <- Pool.handle(:one), do: Process.exit(scheduler, :kill)
  not Process.alive?(supervisor)
end)

until.(until, fn -> match?({:ok, _handle}, Pool.handle(:one)) end)
:ok = Pool.await_ready(:one)
row = Server.get(FeatureStore, :features, "written")
IO.puts("pool #{row} #{os_pid.(:two) == before} #{is_integer(os_pid.(:one))}")

# The supervisors of a pool and of a long-running pipe are killed, each as often as the one above
# starts them again within five seconds; the pool's has been started once above.
defmodule Failing.Pipe do
  use Slither.Pipe

  pipe :failing do
    stage(:same, :beam, handler: fn item, _context -> {:ok, item.payload} end)
    output(:default)
  end
end

sinks = [default: fn _items -> :ok end]

for name <- [:left, :right],
    do: {:ok, _} = Slither.Pipe.Supervisor.start_pipe(Failing.Pipe, name: name, sinks: sinks)

{:ok, right, _} = Slither.Pipe.Names.find(:server, :right)

parent = fn pid ->
  {:dictionary, words} = Process.info(pid, :dictionary)
  [parent | _] = words[:"$ancestors"]
  GenServer.whereis(parent)
end

kill = fn find ->
  {:ok, pid} = find.()
  supervisor = parent.(pid)
  Process.exit(supervisor, :kill)
  ended.(supervisor)
  until.(until, fn -> match?({:ok, other} when other != pid, find.()) end)
end

scheduler = fn ->
  with {:ok, %{scheduler: scheduler}} <- Pool.handle(:one), do: {:ok, scheduler}
end

server = fn ->
  with {:ok, pid, _counts} <- Slither.Pipe.Names.find(:server, :left), do: {:ok, pid}
end

for _ <- 1..2, do: kill.(scheduler)
for _ <- 1..2, do: kill.(server)
stays = match?({:ok, ^right, _}, Slither.Pipe.Names.find(:server, :right))
IO.puts("killed #{os_pid.(:two) == before} #{is_integer(os_pid.(:one))} #{stays}")
System.halt(0)
