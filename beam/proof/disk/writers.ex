defmodule Slither.Proof.Disk.Writers do
  @moduledoc false
  # A durable store and three writers. Each has keys of its own, and numbers what it writes: what
  # is found under a key later is the last that was acknowledged, or one that came after it.

  alias Slither.Store.Server

  @behaviour Slither.Store
  @keys 4

  @impl true
  def tables, do: [%{name: :items, durable: true}]

  @impl true
  def load(_tables), do: :ok

  @doc "Starts the store; small logs, as the disk is small."
  @spec start(Path.t(), :always | pos_integer) :: {:ok, pid} | {:error, term}
  def start(dir, sync), do: Server.start_link(__MODULE__, dir: dir, sync: sync, compact_after: 10)

  @doc "Three processes that write until they are killed, and tell `tell` of each answer."
  @spec begin(pos_integer, ({:ack, term, integer} | :refused -> any)) :: [pid]
  def begin(kb, tell) do
    # What is live takes an eighth of the disk.
    size = div(kb * 1_024, 8 * 3 * @keys)
    for writer <- 1..3, do: spawn(fn -> write(writer, 1, size, tell) end)
  end

  defp write(writer, n, size, tell) do
    key = {writer, rem(n, @keys)}
    blob = :binary.copy("x", :rand.uniform(size))

    try do
      Server.put(__MODULE__, :items, key, {n, blob})
      tell.({:ack, key, n})
    rescue
      _refused in Slither.Error ->
        tell.(:refused)
        receive after: (1 -> :ok)
    end

    write(writer, n + 1, size, tell)
  end

  @doc "Those of `acknowledged` (a number by key) that the store has not, nor anything later."
  @spec lost(%{term => integer}) :: [term]
  def lost(acknowledged) do
    for {key, n} <- acknowledged, there(key) < n, do: {key, n, there(key)}
  end

  defp there(key) do
    with {n, _blob} <- Server.get(__MODULE__, :items, key) || {0, ""}, do: n
  end

  @doc "In a VM of its own: writes, and prints what was acknowledged."
  @spec main([String.t()]) :: no_return
  def main([dir, sync, kb]) do
    _ = Application.ensure_all_started(:logger)
    Logger.configure(level: :none)
    {:ok, _} = Slither.Store.Supervisor.start_link(stores: [])
    sync = if sync == "always", do: :always, else: String.to_integer(sync)
    {:ok, _} = start(dir, sync)

    begin(String.to_integer(kb), fn
      {:ack, {writer, key}, n} -> IO.puts("ack #{writer} #{key} #{n}")
      :refused -> IO.puts("refused")
    end)

    receive do: (:never -> :ok)
  end
end
