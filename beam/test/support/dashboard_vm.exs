# Run by dashboard/ways_test.exs in a VM of its own, which has a dashboard by its configuration. It is
# that of a project which knows nothing of inets: Mix takes that off its code path.
:code.del_path(:inets)
Application.load(:slither)
Application.ensure_all_started(:logger)
Logger.configure(level: :none)

{:ok, options} = Slither.Dashboard.Options.check([])
{:error, error} = Slither.Dashboard.Httpd.start(options, :none, &{&1}, ~c"/nowhere")
IO.puts("missing #{Exception.message(error)}")

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
