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
Application.put_env(:slither, :stores, [FeatureStore, {Failing.Store, dir: dir}])
pool = [paths: [handlers], size: 1]
Application.put_env(:slither, :pools, one: pool, two: pool)
Application.ensure_all_started(:logger)
Logger.configure(level: :none)
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
System.halt(0)
