defmodule Slither.Python.Asks do
  @moduledoc false
  # What Python asks of BEAM while it works: views, and tables. Each question goes to a task of
  # its own, so that a slow one holds up nobody; tasks that are done wait for the next question,
  # since starting one costs more than most answers. A read that neither waits nor takes long is
  # answered at once.
  #
  # Runs in the worker's owner, which hands on the messages of the tasks.

  alias Slither.Protocol.Frame
  alias Slither.Python.{Answerer, Fault, PortWriter}

  # A worker is one thread, mostly: whoever asks for so much at once has lost count.
  @limit 64
  # Beyond this it asks and does not read: each answer would wait for ever.
  @flood 4_096
  @spare 4

  @enforce_keys [:port, :bridge, :facts, :max_frame]
  defstruct [:port, :bridge, :facts, :max_frame, busy: %{}, idle: []]

  @type t :: %__MODULE__{}

  @doc "For a port and its longest frame; `bridge` answers, `facts` say which pool and worker ask."
  @spec new(PortWriter.to(), pos_integer, module, map) :: t
  def new(port, max_frame, bridge, facts),
    do: %__MODULE__{port: port, max_frame: max_frame, bridge: bridge, facts: facts}

  @doc "Ends the tasks: nobody is left to read their answers, nor to hold them to their time."
  @spec stop(t) :: :ok
  def stop(asks) do
    for {pid, _question} <- asks.busy, do: Process.exit(pid, :kill)
    for {pid, _monitor} <- asks.idle, do: Process.exit(pid, :kill)
    :ok
  end

  @doc """
  Answers a view call made in call `call` of a run, whose context is `run`.

  With `record?`, the owner gets `{:recorded, call, {question, answer}}`, here as of tables.
  """
  @spec view(t, pos_integer, binary, non_neg_integer, binary | nil, boolean) ::
          {:ok, t} | {:error, String.t()}
  def view(%__MODULE__{busy: busy}, _id, _body, _call, _run, _record?)
      when map_size(busy) >= @flood,
      do: flood()

  def view(%__MODULE__{busy: busy} = asks, id, body, call, _run, record?)
      when map_size(busy) >= @limit do
    record = if record?, do: {call, body}
    {:ok, start(asks, id, fn -> {:error, refusal(body)} end, record)}
  end

  def view(asks, id, body, call, run, record?) do
    facts = Map.merge(asks.facts, %{call: call, run: run, asked: System.monotonic_time()})
    bridge = asks.bridge
    owner = self()
    lost = fn why -> lost_view(body, facts, bridge, why) end
    serve = fn -> serve_view(body, facts, bridge, {owner, id}) end
    {:ok, start(asks, id, serve, if(record?, do: {call, body}), lost)}
  end

  @doc "Answers a table call."
  @spec table(t, pos_integer, binary, boolean) :: {:ok, t} | {:error, String.t()}
  def table(%__MODULE__{busy: busy}, _id, _body, _record?) when map_size(busy) >= @flood,
    do: flood()

  def table(asks, id, body, record?) do
    with {:ok, {:table_call, ^id, call, table, op, arguments}} <- Frame.decode(body) do
      %{bridge: bridge, port: port} = asks
      worker = self()
      record = if record?, do: {call, body}

      if bridge.quick?(op) do
        answer = bridge.table(table, op, arguments, worker)
        frame = Answerer.frame(id, answer, asks.max_frame)
        Answerer.record(worker, record, frame)

        # Who asked should be reading; where it does not, a task waits for it instead of us.
        if PortWriter.offer(port, frame),
          do: {:ok, asks},
          else: {:ok, start(asks, id, fn -> answer end, nil)}
      else
        {:ok, start(asks, id, fn -> bridge.table(table, op, arguments, worker) end, record)}
      end
    end
  end

  @doc "The time of a question, in ms, is up: its task is killed, and its end then tells of it."
  @spec expire(t, pid, pos_integer, pos_integer) :: t
  def expire(asks, pid, id, timeout) do
    case asks.busy do
      %{^pid => %{id: ^id} = question} ->
        Process.exit(pid, :kill)
        put_in(asks.busy[pid], %{question | why: {:timeout, timeout}})

      _ ->
        asks
    end
  end

  @doc "A task has written its answer."
  @spec answered(t, pid) :: t
  def answered(%__MODULE__{busy: busy, idle: idle} = asks, pid) do
    case Map.pop(busy, pid) do
      {nil, _busy} ->
        asks

      {question, busy} when length(idle) < @spare ->
        %{asks | busy: busy, idle: [{pid, question.monitor} | idle]}

      {question, busy} ->
        Process.demonitor(question.monitor, [:flush])
        Process.exit(pid, :kill)
        %{asks | busy: busy}
    end
  end

  @doc "A task ended before it answered."
  @spec down(t, pid, term) :: t
  def down(asks, pid, reason) do
    case Map.pop(asks.busy, pid) do
      {nil, _busy} ->
        %{asks | idle: List.keydelete(asks.idle, pid, 0)}

      {question, busy} ->
        asks = %{asks | busy: busy}

        # One that is spent has answered.
        if Answerer.spent?(reason),
          do: asks,
          else: start(asks, question.id, answer_for(question, reason), question.record)
    end
  end

  defp answer_for(question, reason), do: fn -> question.lost.(question.why || {:exit, reason}) end

  # A task is monitored before it gets its question, so that its end can't be missed.
  defp start(asks, id, serve, record, lost \\ &lost/1)

  defp start(%__MODULE__{idle: []} = asks, id, serve, record, lost) do
    case Answerer.start(asks.port, asks.max_frame) do
      {:ok, pid} ->
        give(asks, {pid, Process.monitor(pid)}, id, serve, {record, lost})

      :busy ->
        # Who asked waits for this answer, and reads.
        fault = Fault.to_wire("view_busy", "too many views are being answered on this node")
        PortWriter.write(asks.port, Answerer.frame(id, {:error, fault}, asks.max_frame))
        asks
    end
  end

  defp start(%__MODULE__{idle: [task | idle]} = asks, id, serve, record, lost),
    do: give(%{asks | idle: idle}, task, id, serve, {record, lost})

  defp give(asks, {pid, monitor}, id, serve, {record, lost}) do
    Answerer.serve(pid, id, serve, record)
    question = %{id: id, monitor: monitor, why: nil, lost: lost, record: record}
    %{asks | busy: Map.put(asks.busy, pid, question)}
  end

  defp refusal(body) do
    {:ok, {:view_call, _id, _call, name, _mode, _params, _timeout}} = Frame.decode(body)
    why = "#{@limit} view calls of this worker are being answered"
    Fault.to_wire("view_busy", why, %{"view" => name, "limit" => @limit})
  end

  defp flood, do: {:error, "it has asked #{@flood} questions and reads no answer"}

  # What answers a question whose task ended before it did.
  defp lost({:exit, reason}),
    do: {:error, Fault.to_wire("view_failed", Exception.format_exit(reason))}

  defp lost_view(body, facts, bridge, why) do
    {:ok, {:view_call, _id, _call, name, mode, params, timeout}} = Frame.decode(body)

    bridge.lost(
      Map.merge(facts, %{view: name, mode: mode, params: params, timeout: timeout}),
      why
    )
  end

  defp serve_view(body, facts, bridge, {owner, id}) do
    case Frame.decode(body) do
      {:ok, {:view_call, _id, _call, name, mode, params, timeout}} ->
        asked = %{view: name, mode: mode, params: params, timeout: timeout}
        answerer = self()

        bridge.serve(Map.merge(facts, asked), fn timeout ->
          Answerer.arm(owner, {:view_deadline, answerer, id, timeout}, timeout)
        end)

      {:error, why} ->
        {:error, Fault.to_wire("invalid_params", why)}
    end
  end
end
