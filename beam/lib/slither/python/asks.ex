defmodule Slither.Python.Asks do
  @moduledoc false
  # The questions that Python asks of BEAM while it works, to views and tables. Each goes to a
  # task of its own, so that a slow answer holds up no other. A task that has answered waits for
  # another question, since to start a task costs more than most answers. Quick reads need no
  # task: the owner answers them itself.
  #
  # Runs in the owner of a connection, a worker's or a driver's. The owner hands on what tasks tell
  # it, `{Slither.Python.Asks.Answerer, message}`, with `message/2`, and their ends with `down/3`.

  alias Slither.Protocol.Frame
  alias Slither.Python.Asks.Answerer
  alias Slither.Python.{Capture, Fault, Transport}

  # Most questions that have a task at one time. A worker is mostly one thread, so one that asks
  # more is at fault, and further questions are refused.
  @limit 64
  # A worker with so many unanswered questions has stopped reading answers: it fails.
  @flood 4_096
  @spare 4

  @enforce_keys [:transport, :bridge, :facts, :max_frame]
  defstruct [:transport, :bridge, :facts, :max_frame, busy: %{}, idle: [], tapes: %{}]

  @typedoc """
  `busy` are the tasks that answer, with their questions, `idle` those that wait for one. `tapes` have
  what calls asked and were answered, by call, where that is recorded, the last first; `left` is how
  many bytes more are, and `cut?` says that there was more.
  """
  @type t :: %__MODULE__{}
  @typedoc "A question's task has answered it, has an exchange for a tape, or is late."
  @type message ::
          {:answered, pid}
          | {:recorded, call :: pos_integer, Capture.exchange()}
          | {:late, pid, id :: pos_integer, timeout :: pos_integer}

  @doc "For a transport and its longest frame; `bridge` answers, `facts` say who asks."
  @spec new(Transport.t(), pos_integer, module, map) :: t
  def new(transport, max_frame, bridge, facts),
    do: %__MODULE__{transport: transport, max_frame: max_frame, bridge: bridge, facts: facts}

  @doc "Records what a call asks, up to so many bytes; nil for nothing."
  @spec record(t, pos_integer, non_neg_integer | nil) :: t
  def record(asks, _call, nil), do: asks

  def record(asks, call, most),
    do: %{asks | tapes: Map.put(asks.tapes, call, %{left: most, exchanges: [], cut?: false})}

  @doc "Ends the record of a call: its exchanges, and whether there were more; nil without one."
  @spec play(t, pos_integer | nil) :: {{[Capture.exchange()], boolean} | nil, t}
  def play(%__MODULE__{tapes: tapes} = asks, _call) when tapes == %{}, do: {nil, asks}

  def play(asks, call) do
    {tape, tapes} = Map.pop(asks.tapes, call)
    {tape && {Enum.reverse(tape.exchanges), tape.cut?}, %{asks | tapes: tapes}}
  end

  @doc "Ends the tasks: nobody is left to read their answers, nor to hold them to their time."
  @spec stop(t) :: :ok
  def stop(asks) do
    for {pid, _question} <- asks.busy, do: Process.exit(pid, :kill)
    for {pid, _monitor} <- asks.idle, do: Process.exit(pid, :kill)
    :ok
  end

  @doc "Answers a view call that was made in call `call` of a run, whose context is `context`."
  @spec view(t, pos_integer, binary, non_neg_integer, binary | nil) ::
          {:ok, t} | {:error, String.t()}
  def view(%__MODULE__{busy: busy, bridge: bridge} = asks, id, body, call, context) do
    record = recorded(asks, call, body)
    facts = Map.merge(asks.facts, %{call: call, run: context, asked: System.monotonic_time()})
    owner = self()
    # The task decodes the body, so that a large one does not hold up the owner.
    serve = fn -> serve_view(body, facts, bridge, {owner, id}) end
    lost = fn why -> bridge.lost(Map.merge(facts, asked(body)), why) end

    cond do
      map_size(busy) >= @flood -> flood()
      map_size(busy) >= @limit -> {:ok, start(asks, id, fn -> refusal(body) end, record)}
      true -> {:ok, start(asks, id, serve, record, lost)}
    end
  end

  @doc "Answers a table call."
  @spec table(t, pos_integer, binary) :: {:ok, t} | {:error, String.t()}
  def table(%__MODULE__{busy: busy}, _id, _body) when map_size(busy) >= @flood, do: flood()

  def table(asks, id, body) do
    with {:ok, {:table_call, ^id, call, table, op, arguments}} <- Frame.decode(body) do
      bridge = asks.bridge
      worker = self()
      record = recorded(asks, call, body)

      if bridge.quick?(op) do
        answer = bridge.table(table, op, arguments, worker)
        frame = Answerer.frame(id, answer, asks.max_frame)
        asks = record_now(asks, record, frame)

        # If the transport is full, Python is not reading:
        # a task then waits for room, not the owner.
        if Transport.offer(asks.transport, frame),
          do: {:ok, asks},
          else: {:ok, start(asks, id, fn -> answer end, nil)}
      else
        {:ok, start(asks, id, fn -> bridge.table(table, op, arguments, worker) end, record)}
      end
    end
  end

  defp recorded(%__MODULE__{tapes: tapes}, call, body),
    do: if(is_map_key(tapes, call), do: {call, body})

  defp record_now(asks, nil, _frame), do: asks

  defp record_now(asks, {call, body}, frame),
    do: message(asks, {:recorded, call, {body, IO.iodata_to_binary(frame)}})

  @doc "What a task tells. One whose time is up is killed, and its end then answers."
  @spec message(t, message) :: t
  def message(asks, {:answered, pid}), do: answered(asks, pid)

  def message(%__MODULE__{tapes: tapes} = asks, {:recorded, call, exchange}) do
    case tapes do
      %{^call => tape} -> %{asks | tapes: %{tapes | call => taped(tape, exchange)}}
      _over -> asks
    end
  end

  def message(asks, {:late, pid, id, timeout}) do
    case asks.busy do
      %{^pid => %{id: ^id} = question} ->
        Process.exit(pid, :kill)
        put_in(asks.busy[pid], %{question | why: {:timeout, timeout}})

      _ ->
        asks
    end
  end

  # The tape ends at the first exchange that it has no room for, even if a later one would fit.
  defp taped(%{cut?: false, left: left} = tape, {question, answer} = exchange)
       when byte_size(question) + byte_size(answer) <= left do
    left = left - byte_size(question) - byte_size(answer)
    %{tape | left: left, exchanges: [exchange | tape.exchanges]}
  end

  defp taped(tape, _exchange), do: %{tape | cut?: true}

  defp answered(%__MODULE__{busy: busy, idle: idle} = asks, pid) do
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

        # A spent task answered before it ended; any other left its question open.
        if Answerer.spent?(reason),
          do: asks,
          else: start(asks, question.id, answer_for(question, reason), question.record)
    end
  end

  defp answer_for(question, reason), do: fn -> question.lost.(question.why || {:exit, reason}) end

  # A task is monitored before it gets its question, so that its end can't be missed.
  defp start(asks, id, serve, record, lost \\ &lost/1)

  defp start(%__MODULE__{idle: []} = asks, id, serve, record, lost) do
    case Answerer.start(asks.transport, asks.max_frame) do
      {:ok, pid} ->
        give(asks, {pid, Process.monitor(pid)}, id, serve, {record, lost})

      :busy ->
        # Python waits for this answer and is reading, so this write does not wait for long.
        fault = Fault.to_wire("view_busy", "too many views are being answered on this node")
        Transport.write(asks.transport, Answerer.frame(id, {:error, fault}, asks.max_frame))
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
    why = "#{@limit} view calls of this worker are being answered"
    {:error, Fault.to_wire("view_busy", why, %{"view" => asked(body).view, "limit" => @limit})}
  end

  defp flood, do: {:error, "it has asked #{@flood} questions and reads no answer"}

  # The answer to a question whose task ended without one.
  defp lost({:exit, reason}),
    do: {:error, Fault.to_wire("view_failed", Exception.format_exit(reason))}

  defp serve_view(body, facts, bridge, {owner, id}) do
    case asked(body) do
      {:error, why} -> {:error, Fault.to_wire("invalid_params", why)}
      asked -> bridge.serve(Map.merge(facts, asked), &Answerer.arm(owner, id, &1))
    end
  end

  defp asked(body) do
    with {:ok, {:view_call, _id, _call, name, mode, params, timeout}} <- Frame.decode(body),
         do: %{view: name, mode: mode, params: params, timeout: timeout}
  end
end
