# Run by durable_test.exs in a VM of its own, which the test kills. Says what it found, then
# writes in four processes and says so after each acknowledgement.
defmodule Writer.Store do
  @behaviour Slither.Store

  @impl true
  def tables, do: [%{name: :items, durable: true}, %{name: :last, durable: true}]

  @impl true
  def load(_tables), do: :ok
end

alias Slither.Store.Server

[dir, sync] = System.argv()
sync = if sync == ":always", do: :always, else: String.to_integer(sync)

Application.ensure_all_started(:logger)
Logger.configure(level: :error)
{:ok, _} = Slither.Store.Supervisor.start_link(stores: [])
{:ok, _} = Server.start_link(Writer.Store, dir: dir, sync: sync, compact_after: 100)

last = Map.new(Server.stream(Writer.Store, :last))
items = Map.new(Server.stream(Writer.Store, :items))

holes = for {writer, n} <- last, i <- 1..n, items[{writer, i}] != i, do: {writer, i}

IO.puts("found " <> Base.encode64(:erlang.term_to_binary(Map.put(last, :holes, holes))))

for writer <- 1..4 do
  spawn_link(fn ->
    Stream.iterate(Map.get(last, writer, 0) + 1, &(&1 + 1))
    |> Enum.each(fn n ->
      :ok = Server.put(Writer.Store, :items, {writer, n}, n)
      {:ok, ^n} = Server.update(Writer.Store, :last, writer, fn _ -> n end)
      IO.puts("ack #{writer} #{n}")
    end)
  end)
end

receive do: (:never -> :ok)
