defmodule Slither.Bridge.Scan do
  @moduledoc false
  # One walk of Python over a table: a task that holds the place in the stream, so that each part is
  # read when it is asked for. `Slither.Bridge.Tables` starts and asks it, in a task of the worker
  # that asks. It ends with the walk, with its worker, or when nobody has asked for a while.

  alias Slither.Error
  alias Slither.Store.Server

  @part 500
  @idle 60_000
  @busy "too much is being answered on this node"

  @doc "Begins a scan: `[id, pairs]`, the id nil where that was all."
  @spec start(term, atom, pid) :: [nil | pos_integer | list]
  def start(store, table, worker) do
    id = System.unique_integer([:positive])
    caller = self()
    ref = make_ref()

    walk = fn ->
      {:ok, _owner} = Registry.register(Slither.Python.Registry, {:scan, worker, id}, nil)
      monitor = Process.monitor(worker)
      send(caller, {ref, :ready})
      serve(parts(Server.stream(store, table)), monitor)
    end

    case Task.Supervisor.start_child(Slither.TaskSupervisor, walk) do
      {:ok, pid} ->
        await(pid, ref)
        next(id, worker)

      {:error, :max_children} ->
        raise Error, reason: :busy, message: @busy
    end
  end

  defp await(pid, ref) do
    monitor = Process.monitor(pid)

    receive do
      {^ref, :ready} -> :ok
      {:DOWN, ^monitor, :process, _pid, reason} -> exit(reason)
    end

    Process.demonitor(monitor, [:flush])
  end

  @doc "The next part of a scan."
  @spec next(pos_integer, pid) :: [nil | pos_integer | list]
  def next(id, worker) do
    case Registry.lookup(Slither.Python.Registry, {:scan, worker, id}) do
      [{pid, nil}] -> answer(ask(pid), id)
      [] -> raise Error, reason: :scan_ended, message: "the scan has ended: begin again"
    end
  end

  @doc "Ends a scan that nobody wants to see the rest of."
  @spec stop(pos_integer, pid) :: nil
  def stop(id, worker) do
    for {pid, nil} <- Registry.lookup(Slither.Python.Registry, {:scan, worker, id}),
        do: send(pid, :stop)

    nil
  end

  defp answer({:more, pairs}, id), do: [id, pairs]
  defp answer({:last, pairs}, _id), do: [nil, pairs]

  defp ask(pid) do
    monitor = Process.monitor(pid)
    send(pid, {:next, self(), monitor})

    receive do
      {^monitor, part} ->
        Process.demonitor(monitor, [:flush])
        part

      {:DOWN, ^monitor, :process, _pid, reason} ->
        exit(reason)
    end
  end

  defp parts(stream) do
    chunks = Stream.chunk_every(Stream.map(stream, &pair/1), @part)
    &Enumerable.reduce(chunks, &1, fn chunk, _ -> {:suspend, chunk} end)
  end

  defp pair({key, value}), do: [key, value]
  defp pair(record), do: [elem(record, 0), record]

  defp serve(continue, monitor) do
    receive do
      {:next, from, ref} ->
        case continue.({:cont, []}) do
          {:suspended, pairs, continue} ->
            send(from, {ref, {:more, pairs}})
            serve(continue, monitor)

          # At the end the accumulator holds a part that was sent before.
          {_done, _sent} ->
            send(from, {ref, {:last, []}})
        end

      # To halt the stream takes out its pin on the store's tables.
      :stop ->
        continue.({:halt, []})

      {:DOWN, ^monitor, :process, _worker, _reason} ->
        continue.({:halt, []})
    after
      @idle -> continue.({:halt, []})
    end
  end
end
