defmodule Slither.Proof.Fuzz.Owner do
  @moduledoc false
  # The state machine of a worker's owner, without the cost of a process for each frame: this
  # process runs the owner's callbacks itself, over a port that swallows what is written to it.
  # A frame that the owner ends its worker for leaves the state as it was before.
  #
  # Three states take frames: one that awaits the hello, one that awaits ready, and one that has
  # calls out, whose lanes are real.

  alias Slither.Error
  alias Slither.Proof.Fuzz.Decoder
  alias Slither.Proof.Processes
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Lane, Outcome, Part, Pool, Worker}
  alias Slither.Python.Worker.Inbox

  # Reasons an owner may have to end a worker that says anything.
  @reasons [:protocol_error, :version_mismatch, :start_failed]

  @patience 60_000

  defstruct [:supervisor, :folder, :port, :states, :lanes, :head, done: 0, early: %{}]

  @doc "An owner of the calling process."
  @spec open() :: %__MODULE__{}
  def open do
    {python, folder} = Processes.interpreter("exec cat <&3 >/dev/null")
    name = :"fuzz_owner_#{System.unique_integer([:positive])}"
    options = [name: name, size: 1, python: python, startup_timeout: 3_600_000, shutdown: 1]
    {:ok, supervisor} = Pool.start_link(options)
    {:ok, %{scheduler: own}} = Pool.handle(name)
    %{settings: settings} = :sys.get_state(own)
    # Nobody schedules anything here; what a scheduler is told is of no interest.
    scheduler = spawn_link(&swallow/0)
    {:ok, state, {:continue, step}} = Worker.init({settings, 0, scheduler})
    {:noreply, starting} = Worker.handle_continue(step, state)

    # What kills the process would kill the port that all frames share. The guard does nothing to a
    # process that it does not know.
    starting = put_in(starting.process.os_pid, 2_147_483_647)
    greeted = feed!(starting, {:hello, Frame.version(), %{"pid" => 1}})
    ready = feed!(greeted, {:ready, %{"handlers" => []}})
    lanes = Tuple.to_list(ready.lanes)

    ready = %{
      ready
      | lanes: ready.lanes |> Tuple.to_list() |> Enum.map(&spared/1) |> List.to_tuple()
    }

    owner = %__MODULE__{
      supervisor: supervisor,
      folder: folder,
      port: starting.process.transport.port,
      states: %{starting: starting, greeted: greeted, serving: ready},
      lanes: lanes,
      head: Frame.call_head(["function", "m", "f"], %{})
    }

    Enum.reduce(lanes, owner, &job(&2, &1))
  end

  @doc "Ends it."
  @spec close(%__MODULE__{}) :: :ok
  def close(owner) do
    Enum.each(owner.lanes, &Lane.stop/1)
    Worker.terminate(:normal, owner.states.serving)
    Port.close(owner.port)
    Supervisor.stop(owner.supervisor)
    File.rm_rf!(owner.folder)
    :ok
  end

  @doc """
  Hands a frame to the owner in one of its states; with what came of it. Raises where the owner
  would have crashed, or gives no reason.
  """
  @spec feed(%__MODULE__{}, binary) :: {:taken | {:refused, String.t()}, %__MODULE__{}}
  def feed(owner, body) do
    phase = Enum.random([:starting, :greeted, :serving, :serving])
    before = owner.states[phase]
    {:noreply, state} = Worker.handle_info({owner.port, {:data, body}}, before)

    cond do
      state.life.phase == :killed ->
        {{:refused, reason!(state.life.reason)}, settle(owner)}

      phase == :serving ->
        {:taken, settle(%{owner | states: %{owner.states | serving: state}})}

      true ->
        undo(state)
        {:taken, settle(owner)}
    end
  end

  @doc "A frame that answers a call which is out, or tells of one."
  @spec answer(%__MODULE__{}) :: binary
  def answer(owner) do
    [%{id: id} | _] = owner.states.serving.calls.queue
    error = %{"kind" => "exception", "message" => "m", "type" => "T", "traceback" => "t"}

    frame =
      Enum.random([
        {:result, id, [1, "two"], nil, [0, 0, 0]},
        {:result, id, [nil, 2], %{0 => error}, [0, 0, 0]},
        {:result, id, [1], nil, [0, 0, 0]},
        {:error, id, error},
        {:part, id, 0, [1], nil},
        {:progress, id, 1, 2},
        {:view_call, 1, id, "fuzz_no_view", 0, nil, nil},
        {:table_call, 2, id, "fuzz_no_table", "get", ["k"]}
      ])

    frame |> Frame.encode!() |> IO.iodata_to_binary()
  end

  # An owner that is refused a frame kills its worker, and tells its lanes so. Here these go on, for the
  # next frame.
  defp spared(lane), do: spawn_link(fn -> pass_on(lane) end)

  defp pass_on(lane) do
    receive do
      :doomed -> :ok
      message -> send(lane, message)
    end

    pass_on(lane)
  end

  defp swallow, do: receive(do: (_message -> swallow()))

  defp feed!(state, frame) do
    body = frame |> Frame.encode!() |> IO.iodata_to_binary()
    %{process: %{transport: %{port: port}}} = state
    {:noreply, state} = Worker.handle_info({port, {:data, body}}, state)
    true = state.life.phase != :killed
    state
  end

  defp reason!(%Error{reason: reason, message: message}) when reason in @reasons do
    true = is_binary(message) and String.valid?(message)
    [_, why] = String.split(message, ": ", parts: 2)
    Decoder.class(why)
  end

  # A worker that is told of by two frames at most leaves lanes.
  defp undo(state), do: Enum.each(Tuple.to_list(state.lanes), &Lane.stop/1)

  # What the frame led to, for the owner and for those who wait.
  defp settle(owner) do
    receive do
      # The owner would have ended by now.
      :gone -> settle(owner)
      {Inbox, :kill, %Error{reason: :protocol_error}} -> settle(owner)
      {{_reader, :job}, {:part, lane, part}} -> owner |> part(lane, part) |> settle()
      {{_reader, :job}, {:done, lane, outcome}} -> owner |> done(lane, outcome) |> settle()
      message -> owner |> pass(message) |> settle()
    after
      # A call that is answered is followed by the next one.
      if(owner.states.serving.calls.queue == [], do: @patience, else: 0) -> owner
    end
  end

  defp pass(owner, message) do
    {:noreply, state} = Worker.handle_info(message, owner.states.serving)
    %{owner | states: %{owner.states | serving: state}}
  end

  defp part(owner, lane, %Part{values: [_] = values, errors: errors}) when is_map(errors),
    do: %{owner | early: Map.put(owner.early, lane, values)}

  defp done(owner, lane, outcome) do
    {early, others} = Map.pop(owner.early, lane, [])
    outcome!(outcome, early)
    job(%{owner | done: owner.done + 1, early: others}, lane)
  end

  # What came in a part and what came with the answer are the results of two items.
  defp outcome!(%Outcome{kind: :ok, values: values, errors: errors}, early) when is_map(errors),
    do: [_, _] = early ++ values

  defp outcome!(%Outcome{kind: :error, error: %Error{message: why}}, _early)
       when is_binary(why) and why != "",
       do: :ok

  defp job(owner, lane) do
    Lane.run(lane, %Job{
      inbox: {self(), :job},
      ref: lane,
      head: owner.head,
      payloads: [1, 2]
    })

    receive do: ({Inbox, :sent, _call} = sent -> pass(owner, sent))
  end
end
