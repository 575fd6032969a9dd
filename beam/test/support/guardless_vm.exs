# Run by orphans_test.exs in a VM of its own, whose guard ends as if it had a fault.
[handlers, path] = System.argv()
alias Slither.Python.{Guard, Pool}
alias Slither.Store.Server
alias Slither.Test.FeatureStore

Application.load(:slither)
Application.put_env(:slither, :stores, [FeatureStore])
Application.put_env(:slither, :pools, default: [paths: [handlers], size: 1])
{:ok, _} = Application.ensure_all_started(:slither)
Logger.configure(level: :none)
Process.flag(:trap_exit, true)

# The first worker may end only now.
options = [
  module: "holding_handlers",
  function: "hold",
  on_error: {:retry, max_attempts: 20, base_ms: 10}
]

:ok = Pool.await_ready(:default)
:ok = Server.put(FeatureStore, :features, "written", 1)
guard = Process.whereis(Guard)
monitor = Process.monitor(guard)
Process.exit(guard, :kill)
receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)

{:ok, [_result]} = Slither.dispatch([[path, "idle, with child"]], options)
IO.puts("row #{inspect(Server.get(FeatureStore, :features, "written"))}")
IO.puts("guard #{inspect(Process.whereis(Guard) not in [nil, guard])}")
System.halt(0)
