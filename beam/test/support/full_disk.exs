# Run by durable_test.exs in a VM whose files can't grow beyond a limit. Writes far beyond it, one
# write being larger than any file may be; says what was refused, and what was acknowledged, and
# ends when told to.
defmodule Full.Store do
  @behaviour Slither.Store

  @impl true
  def tables, do: [%{name: :items, durable: true}]

  @impl true
  def load(_tables), do: :ok
end

alias Slither.Store.Server

[dir, sync] = System.argv()
sync = if sync == ":always", do: :always, else: String.to_integer(sync)

Application.ensure_all_started(:logger)
Logger.configure(level: :critical)
{:ok, _} = Slither.Store.Supervisor.start_link(stores: [])
{:ok, store} = Server.start_link(Full.Store, dir: dir, sync: sync, name: "full")

filler = String.duplicate("x", 4_000)

# One row grows the log, others are to be found again.
write = fn n ->
  try do
    :ok = Server.put("full", :items, :filler, {n, filler})
    :ok = Server.put("full", :items, n, n)
    {n, n}
  rescue
    error in Slither.Error -> error.reason
  end
end

results = Enum.map(1..60, write)

# No file can hold it. It was seen in memory, and holds up what comes after it.
huge = String.duplicate("x", 200_000)

refused =
  try do
    Server.put("full", :items, :huge, huge)
  rescue
    error in Slither.Error -> error.reason
  end

IO.puts("refused #{inspect(refused)} #{inspect(write.(:after))}")
acknowledged = for {n, n} <- results, do: {n, n}
IO.puts("acknowledged " <> Base.encode64(:erlang.term_to_binary(acknowledged)))
"stop" = String.trim(IO.gets(""))
Supervisor.stop(store)
