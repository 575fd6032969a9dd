# Run by orphans_test.exs in a VM of its own, which ends in many ways while its workers are busy.
[handlers, path | ways] = System.argv()
Application.ensure_all_started(:slither)
Logger.configure(level: :error)
# Its pool ends before it, when BEAM ends in order.
Process.flag(:trap_exit, true)

# Nobody waits behind another: of the calls here, hardly any ends.
pool = [name: :default, size: length(ways), window: 1, paths: [handlers], shutdown: 1_000]
{:ok, _} = Slither.Python.Pool.start_link(pool)
:ok = Slither.Python.Pool.await_ready(:default)
IO.puts("guard #{:sys.get_state(Slither.Python.Guard).os_pid}")

for way <- ways do
  spawn(fn ->
    Slither.dispatch([[path, way]],
      module: "holding_handlers",
      function: "hold",
      timeout: :infinity
    )
  end)
end

case IO.read(:line) do
  "stop\n" -> System.stop()
  "halt\n" -> System.halt(3)
end

receive do: (:never -> :ok)
