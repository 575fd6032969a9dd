defmodule Slither.Python.Worker.Frames do
  @moduledoc false
  # What a worker's Python process says, frame by frame. Runs in the process of the worker's owner,
  # which calls it; it hands answers and parts on to lanes without decoding them.

  import Slither.Python.Worker.Effects

  require Logger

  alias Slither.Metrics.Handlers
  alias Slither.Protocol.Frame
  alias Slither.Python.Obituary.{LastWords, Marker, StackMemory}
  alias Slither.Python.{Asks, Board, Call, Fault, Handshake, Lane, Obituary, Rss, Sources, Voice}
  alias Slither.Python.Worker.{Calls, Life, Memory, State}
  alias Slither.Telemetry.Events
  alias Slither.Trace.Received

  # Messages that may wait for the owner. A worker behind more of them has sent more than its credits
  # allow, and the flood would keep the owner from enforcing deadlines.
  @flood 10_000

  @doc "Reads a frame's body."
  @spec read(State.t(), binary) :: State.t()
  def read(%State{settings: %{max_frame: most}} = state, body) when byte_size(body) > most,
    do: broken(state, "a frame of #{byte_size(body)} bytes; one holds #{most}")

  def read(state, body) do
    case Frame.peek(body) do
      # A process that is being killed may have answered
      # a call before. The owner ignores the rest.
      {name, _id}
      when state.life.phase == :killed and name not in [:result, :error, :part, :metrics] ->
        state

      {name, id} when name in [:result, :error] ->
        if Memory.condemned?(state, id), do: state, else: answer(state, id, body)

      {:part, id} ->
        part(state, id, body)

      {:metrics, _call} ->
        metrics(state, body)

      {:view_call, id} ->
        asked(state, view(state, id, body))

      {:table_call, id} ->
        asked(state, Asks.table(state.asks, id, body))

      _control ->
        control(state, body)
    end
  end

  defp answer(state, id, body) do
    came = System.monotonic_time()

    case Calls.answered(state.calls, id, now()) do
      :unknown ->
        broken(state, refused(body))

      {effects, calls} ->
        state = hand_tape(state, id)
        Lane.reply(lane(state, id), id, body, state.answered)

        state =
          life(
            %{state | answered: came},
            Life.served(state.life, Board.serve(state.settings.board, state.slot))
          )

        calls(state, {effects, calls})
    end
  end

  # An answer to an unknown id is fatal, as a later call could get that id. With id 0 the worker
  # says that it could not read a frame, and its message says why.
  defp refused(body) do
    case Frame.decode(body) do
      {:ok, {:error, 0, %{"message" => message}}} -> "it refused a frame: #{message}"
      _ -> "an answer to no call"
    end
  end

  defp part(state, id, body) do
    case Calls.part(state.calls, id, now()) do
      :unknown ->
        broken(state, "results of no call")

      part ->
        Lane.part(lane(state, id), id, body)
        calls(state, part)
    end
  end

  # They come before an answer, and whoever has that is to find them counted.
  defp metrics(state, body) do
    case Frame.decode(body) do
      {:ok, {:metrics, _call, rows}} ->
        Handlers.take(state.settings.name, state.slot, rows)
        state

      {:error, why} ->
        broken(state, why)
    end
  end

  defp view(state, id, body) do
    with {:ok, call} <- Frame.second_integer(body),
         %Call{context: context} <- Calls.fetch(state.calls, call),
         do: Asks.view(state.asks, id, body, call, context),
         else: (_none -> Asks.view(state.asks, id, body, 0, nil))
  end

  defp asked(state, {:ok, asks}), do: %{state | asks: asks}
  defp asked(state, {:error, why}), do: broken(state, why)

  defp control(state, body) do
    {:message_queue_len, waiting} = Process.info(self(), :message_queue_len)

    with true <- waiting <= @flood, {:ok, frame} <- Frame.decode(body) do
      control_frame(frame, state)
    else
      false -> broken(state, "a flood of frames")
      {:error, why} -> broken(state, why)
    end
  end

  defp control_frame({:hello, version, facts}, %State{life: %{phase: :starting}} = state) do
    Logger.metadata(os_pid: facts["pid"])
    marker = Marker.open(facts)
    stacks = StackMemory.open(facts)
    opened = %{marker: marker != nil, stacks: stacks != nil}
    tell(state, Handshake.welcome(state.settings, state.slot, opened))
    hello = Map.drop(facts, ["marker", "stacks"])
    state = %{state | marker: marker, stacks: stacks, hello: hello}

    if Handshake.understood?(version),
      do: state,
      else: fail(state, &Obituary.mismatch(&1, &2, version))
  end

  defp control_frame({:ready, facts}, %State{life: %{phase: :starting, reason: nil}} = state) do
    if state.startup, do: Process.cancel_timer(state.startup)
    # The owner opens the worker's stderr in /proc, where it has already opened the marker.
    words = state.marker && LastWords.hold(state.hello["pid"], facts["words"])
    lanes = lanes(state, facts)
    report(state, {:ready, lanes, state.process.os_pid})
    Events.worker_up(state.born, State.identity(state))
    state = Memory.ready(%{state | lanes: List.to_tuple(lanes), words: words})
    rss = state.settings.max_rss && Rss.read(state.process.os_pid)
    life(state, Life.ready(state.life, state.settings, rss))
  end

  defp control_frame({:failed, fault}, %State{life: %{phase: :starting}} = state),
    do: fail(state, &Obituary.failed(&1, &2, Fault.to_error(fault)))

  defp control_frame({:log, _, _, _, _, _, _} = frame, state) do
    voice = Voice.log(state.voice, frame, state.calls.queue)
    give_credit(%{state | voice: voice, owed: state.owed + 1})
  end

  defp control_frame({:progress, call, done, total}, state) do
    {facts, voice} = Voice.facts(state.voice, call, state.calls.queue)
    Events.progress(done, total, Map.merge(State.identity(state), facts))
    give_credit(%{state | voice: voice, owed: state.owed + 1})
  end

  defp control_frame({:spans, _call, dropped, spans}, state) do
    identity = State.identity(state)

    Received.record(spans, dropped, %{
      "slither.pool" => to_string(identity.pool),
      "slither.worker" => identity.worker,
      "process.pid" => identity.os_pid
    })

    state
  end

  # A call says that it keeps state of its run in this
  # worker: the scheduler ends that with the run.
  defp control_frame({:session, call, run}, state) do
    if Calls.out?(state.calls, call) and state.holder != call do
      report(state, {:session, lane(state, call), run})
      %{state | holder: call}
    else
      broken(state, "a session frame outside a call, or a second one")
    end
  end

  defp control_frame({:modules, modules}, %State{settings: %{sources: sources}} = state) do
    if sources, do: Sources.told(sources, modules)
    state
  end

  defp control_frame({:ping, token}, state) do
    tell(state, {:pong, token})
    state
  end

  defp control_frame({:pong, _token}, state), do: state

  defp control_frame(frame, state),
    do: broken(state, "a #{elem(frame, 0)} frame is not for BEAM, or not now")

  defp fail(state, error) do
    error = error.(state.settings.name, state.process.python)
    %{state | life: Life.fail(state.life, error)}
  end

  defp lanes(%State{settings: settings} = state, facts) do
    lane = %Lane{
      index: 0,
      count: settings.window,
      transport: state.process.transport,
      slot: state.slot,
      scheduler: state.scheduler,
      board: settings.board,
      max_frame: settings.max_frame,
      ahead: Handshake.ahead(),
      capture: settings.capture_failures,
      facts: facts_of(state, facts)
    }

    for index <- 0..(settings.window - 1), do: Lane.start(%{lane | index: index})
  end

  # Facts of the process, for a capture, whose calls are run again by `slither.replay`.
  defp facts_of(%State{settings: settings} = state, ready) do
    %{
      "pool" => to_string(settings.name),
      "worker" => state.slot,
      "os_pid" => state.process.os_pid,
      "hello" => state.hello,
      "path" => ready["path"],
      "folder" => ready["folder"],
      "preload" => settings.preload,
      "main" => settings.main,
      "initializer" => settings.initializer
    }
  end
end
