# Run by durable_test.exs in a VM whose files can't grow beyond a limit. Writes until that is met,
# and some more; says what was refused first, and what was acknowledged; ends when told to.
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

results =
  Stream.iterate(1, &(&1 + 1))
  |> Stream.map(write)
  |> Enum.reduce_while({[], 0}, fn
    {n, n}, {all, 0} -> {:cont, {[{n, n} | all], 0}}
    {n, n}, {all, 40} -> {:halt, [{n, n} | all]}
    {n, n}, {all, more} -> {:cont, {[{n, n} | all], more + 1}}
    reason, {all, more} -> {:cont, {[reason | all], max(more, 1)}}
  end)

IO.puts("refused #{Enum.find(results, &is_atom/1)}")
acknowledged = for {n, n} <- results, do: {n, n}
IO.puts("acknowledged " <> Base.encode64(:erlang.term_to_binary(acknowledged)))
"stop" = String.trim(IO.gets(""))
Supervisor.stop(store)
