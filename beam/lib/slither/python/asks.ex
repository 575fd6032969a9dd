defmodule Slither.Python.Asks do
  @moduledoc false
  # What Python asks of BEAM while it works: views, and tables. Each is answered by a task that
  # writes the answer to the port itself, so that a slow one holds up nobody; a read that
  # neither waits nor takes long is answered at once, since a task would cost more than it.
  #
  # Runs in the worker's owner, which hands on the messages of the tasks.

  alias Slither.Protocol.Frame
  alias Slither.Python.{Fault, PortWriter}

  # A worker is one thread, mostly: whoever asks for so much at once has lost count.
  @limit 64

  @enforce_keys [:port, :bridge, :facts]
  defstruct [:port, :bridge, :facts, tasks: %{}]

  @type t :: %__MODULE__{}

  @doc "For a port; `bridge` answers, `facts` say which pool and worker ask."
  @spec new(port, module, map) :: t
  def new(port, bridge, facts), do: %__MODULE__{port: port, bridge: bridge, facts: facts}

  @doc "Answers a view call made in call `call` of a run, whose context is `run`."
  @spec view(t, pos_integer, binary, non_neg_integer, binary | nil) :: t
  def view(%__MODULE__{tasks: tasks} = asks, id, _body, _call, _run)
      when map_size(tasks) >= @limit do
    why = "#{@limit} view calls of this worker are being answered"
    refuse(asks, id, Fault.to_wire("view_busy", why, %{"limit" => @limit}))
  end

  def view(asks, id, body, call, run) do
    owner = self()
    facts = Map.merge(asks.facts, %{call: call, run: run})

    limit = fn timeout, fault ->
      Process.send_after(owner, {:view_deadline, self(), fault}, timeout)
    end

    start(asks, id, fn -> serve_view(body, facts, asks.bridge, limit) end)
  end

  @doc "Answers a table call."
  @spec table(t, pos_integer, binary) :: {:ok, t} | {:error, String.t()}
  def table(asks, id, body) do
    with {:ok, {:table_call, ^id, _call, table, op, arguments}} <- Frame.decode(body) do
      worker = self()
      serve = fn -> asks.bridge.table(table, op, arguments, worker) end

      {:ok,
       if(asks.bridge.quick?(op), do: at_once(asks, id, serve), else: start(asks, id, serve))}
    end
  end

  @doc "The time of a task is up: it is killed, and its end then sends the fault."
  @spec expire(t, pid, map) :: t
  def expire(asks, pid, fault) do
    case Enum.find(asks.tasks, fn {_ref, task} -> task.pid == pid end) do
      {ref, task} ->
        Process.exit(pid, :kill)
        put_in(asks.tasks[ref], %{task | fault: fault})

      nil ->
        asks
    end
  end

  @doc "A task has written its answer."
  @spec done(t, reference) :: t
  def done(asks, ref) do
    Process.demonitor(ref, [:flush])
    %{asks | tasks: Map.delete(asks.tasks, ref)}
  end

  @doc "A task ended before it answered."
  @spec down(t, reference, term) :: t
  def down(asks, ref, reason) do
    case Map.pop(asks.tasks, ref) do
      {nil, _tasks} ->
        asks

      {%{id: id, fault: fault}, tasks} ->
        fault = fault || Fault.to_wire("view_failed", Exception.format_exit(reason))
        refuse(%{asks | tasks: tasks}, id, fault)
    end
  end

  # The task begins once it is monitored, so that its end can't be missed.
  defp start(asks, id, serve) do
    port = asks.port

    task =
      Task.Supervisor.async_nolink(Slither.TaskSupervisor, fn ->
        PortWriter.write(port, reply(id, serve.()))
      end)

    put_in(asks.tasks[task.ref], %{id: id, pid: task.pid, fault: nil})
  end

  defp at_once(asks, id, serve), do: offer(asks, reply(id, serve.()))

  defp refuse(asks, id, fault), do: offer(asks, reply(id, {:error, fault}))

  defp offer(asks, frame) do
    port = asks.port

    unless PortWriter.offer(port, frame) do
      {:ok, _pid} =
        Task.Supervisor.start_child(Slither.TaskSupervisor, fn ->
          PortWriter.write(port, frame)
        end)
    end

    asks
  end

  defp serve_view(body, facts, bridge, limit) do
    case Frame.decode(body) do
      {:ok, {:view_call, _id, _call, name, mode, params, timeout}} ->
        asked = %{view: name, mode: mode, params: params, timeout: timeout}
        bridge.serve(Map.merge(facts, asked), limit)

      {:error, why} ->
        {:error, Fault.to_wire("invalid_params", why)}
    end
  end

  defp reply(id, answer) do
    case encode(id, answer) do
      {:ok, frame} ->
        frame

      {:error, why} ->
        fault = Fault.to_wire("view_failed", "the answer can't be sent: " <> why)
        Frame.encode!({:view_reply, id, 1, fault})
    end
  end

  defp encode(id, {:ok, value}), do: Frame.encode({:view_reply, id, 0, value})
  defp encode(id, {:error, fault}), do: Frame.encode({:view_reply, id, 1, fault})
end
