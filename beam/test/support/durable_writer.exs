# Run by durable_test.exs in a VM of its own, which the test kills. Says what it found, then
# writes in four processes, in every way there is, and says so after each acknowledgement.
defmodule Writer.Store do
  @behaviour Slither.Store

  @impl true
  def tables, do: [%{name: :items, durable: true}, %{name: :bag, type: :bag, durable: true}]

  @impl true
  def load(_tables), do: :ok
end

alias Slither.Store.Server
alias Slither.Test.DurableModel

[dir, sync] = System.argv()
sync = if sync == ":always", do: :always, else: String.to_integer(sync)

Application.ensure_all_started(:logger)
Logger.configure(level: :error)
{:ok, _} = Slither.Store.Supervisor.start_link(stores: [])
{:ok, _} = Server.start_link(Writer.Store, dir: dir, sync: sync, compact_after: 100)

found = DurableModel.found(Writer.Store)
IO.puts("found " <> Base.encode64(:erlang.term_to_binary(found)))

for writer <- 1..4 do
  spawn_link(fn ->
    # A bound, should nobody have the time to read and to kill.
    Stream.iterate(DurableModel.reached(found, writer) + 1, &(&1 + 1))
    |> Stream.take(400)
    |> Enum.each(fn n ->
      DurableModel.write(Writer.Store, writer, n)
      IO.puts("ack #{writer} #{n}")
    end)
  end)
end

receive do: (:never -> :ok)
