# With the application running (`mix test`), all this is there already.
Application.ensure_all_started(:logger)
if :ets.whereis(Slither.Telemetry) == :undefined, do: Slither.Telemetry.start_table()

if is_nil(Process.whereis(Slither.Store.Supervisor)) do
  {:ok, pid} = Slither.Store.Supervisor.start_link(stores: [])
  Process.unlink(pid)
end

# Generous, for busy machines: a message that comes is not waited for.
ExUnit.start(assert_receive_timeout: 10_000)
