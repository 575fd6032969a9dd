# Run by dashboard/ways_test.exs in a VM of its own, which has a dashboard by its configuration. The
# applications that it starts are those of a project that knows nothing of inets.
Application.load(:slither)
Application.ensure_all_started(:logger)
Logger.configure(level: :none)

start = fn options ->
  Application.put_env(:slither, :dashboard, options)
  Application.ensure_all_started(:slither)
end

{:error, {:slither, reason}} = start.(prot: 1)
IO.puts("wrong #{inspect(reason)}")

{:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
{:ok, port} = :inet.port(socket)
{:error, {:slither, reason}} = start.(port: port)
IO.puts("taken #{inspect(reason)}")

{:ok, _started} = start.(port: 0)
running = for {name, _text, _version} <- Application.started_applications(), do: name
IO.puts("inets #{:inets in running}")
IO.puts("url #{Slither.Dashboard.url()}")

# Until somebody has looked.
IO.gets("")
:ok = Application.stop(:slither)
IO.puts("stopped")
System.halt(0)
