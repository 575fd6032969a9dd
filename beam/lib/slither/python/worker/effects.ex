defmodule Slither.Python.Worker.Effects do
  @moduledoc false
  # What the owner of a worker does: carries out what `Calls` and `Life` say, and talks to Python, to
  # lanes and to the scheduler. Runs in the owner's process.

  alias Slither.Protocol.Frame
  alias Slither.Python.{Asks, Board, Guard, Lane, Obituary, Reports, Rss, Transport}
  alias Slither.Python.Obituary.Marker
  alias Slither.Python.Worker.{Busy, Calls, Life, State}

  # ms after which a killed process counts as gone, even if the system has not said so.
  @kill_wait 2_000
  # A worker gets its log credit back so many at a time.
  @credit_step 50
  # ms after which the owner tries again to write to a worker whose pipe was full.
  @pipe_full 20

  @doc "ms on the clock that deadlines are in."
  @spec now() :: integer
  def now, do: System.monotonic_time(:millisecond)

  @doc "Has the owner told in so many ms; never for `:infinity`."
  @spec later(term, timeout) :: reference | nil
  def later(_message, :infinity), do: nil
  def later(message, time), do: Process.send_after(self(), message, time)

  defp at(message, time), do: Process.send_after(self(), message, time, abs: true)

  @doc "Tells the scheduler."
  @spec report(State.t(), Reports.event()) :: term
  def report(state, event), do: Reports.worker(state.scheduler, state.slot, event)

  @doc "Writes a frame to Python; false where the pipe is full."
  @spec tell(State.t(), tuple) :: boolean
  def tell(state, frame), do: Transport.offer(state.process.transport, Frame.encode!(frame))

  @doc "Tells Python that a call is cancelled, once the pipe has room."
  @spec tell_cancel(State.t(), pos_integer) :: term
  def tell_cancel(state, id),
    do: unless(tell(state, {:cancel, id}), do: later({:tell_cancel, id}, @pipe_full))

  @doc "The lane that made a call."
  @spec lane(State.t(), pos_integer) :: pid
  def lane(%State{lanes: lanes}, id), do: elem(lanes, Lane.index(id, tuple_size(lanes)))

  @doc "What is recorded of a call goes to its lane before its end does."
  @spec hand_tape(State.t(), pos_integer | nil) :: State.t()
  def hand_tape(state, id) do
    case Asks.play(state.asks, id) do
      {nil, _asks} ->
        state

      {tape, asks} ->
        Lane.tape(lane(state, id), id, tape)
        %{state | asks: asks}
    end
  end

  @doc "Nobody waits for a call any more."
  @spec cancel(State.t(), pos_integer) :: State.t()
  def cancel(state, id) do
    case Calls.cancel(state.calls, id) do
      :unknown ->
        state

      cancelled ->
        tell_cancel(state, id)
        calls(state, cancelled)
    end
  end

  @doc "Takes what has become of the calls, and does what follows."
  @spec calls(State.t(), {[Calls.effect()], Calls.t()}) :: State.t()
  def calls(state, {effects, calls}) do
    Board.run(state.settings.board, state.slot, Calls.since(calls))
    state = Busy.turn(state, calls)
    effects(%{state | calls: calls}, effects)
  end

  @doc "The same of its life."
  @spec life(State.t(), {[Life.effect()], Life.t()}) :: State.t()
  def life(state, {effects, life}), do: effects(%{state | life: life}, effects)

  @doc "Does what is to be done, in order."
  @spec effects(State.t(), [Calls.effect() | Life.effect()]) :: State.t()
  def effects(state, effects), do: Enum.reduce(effects, state, &effect/2)

  defp effect({:arm, at}, state) do
    if state.timer, do: Process.cancel_timer(state.timer)
    %{state | timer: at(:deadline, at)}
  end

  defp effect({:run_on, id}, state), do: did(state, Lane.run_on(lane(state, id), id))

  defp effect({:grace, id}, state),
    do: did(state, later({:grace, id}, state.settings.cancel_grace))

  # The board is written before it is read, as `Board` demands.
  defp effect(:stalled, %State{settings: settings} = state) do
    Board.stall(settings.board)

    needed? =
      Board.waiting?(settings.board) or Calls.others?(state.calls) or
        state.life.phase == :stopping or Board.recalled?(settings.board, state.slot)

    if needed?, do: effects(state, Calls.run_on(state.calls)), else: state
  end

  defp effect(:going_on, state), do: did(state, Board.go_on(state.settings.board))

  defp effect(:look, state), do: did(state, later(:look, Rss.interval()))

  defp effect(:measure, state),
    do: effects(state, Life.measured(state.life, Rss.read(state.process.os_pid)))

  defp effect({:aged, age}, state), do: did(state, later(:aged, age))
  # `:due` and `:rss_low` go to the scheduler, which replaces a due worker and may be told twice.
  defp effect(event, state), do: did(state, report(state, event))

  defp did(state, _done), do: state

  @doc "Gives Python the log credits that are due. A full pipe leaves them owed for a while."
  @spec give_credit(State.t()) :: State.t()
  def give_credit(%State{owed: owed} = state) do
    cond do
      owed < @credit_step ->
        state

      tell(state, {:credit, 0, owed}) ->
        %{state | owed: 0}

      # A worker without credit stays silent, so only a timer can bring the owner back to this.
      true ->
        later(:credit, @pipe_full)
        state
    end
  end

  @doc "The process is told to leave, or ended where it is not ready yet."
  @spec leave(State.t(), atom) :: State.t()
  def leave(%State{settings: settings} = state, reason) do
    case Life.stop(state.life, reason) do
      {:ask, life} ->
        tell(state, {:shutdown, settings.shutdown})
        later(:shutdown_over, settings.shutdown)
        effects(%{state | life: life}, Calls.run_on(state.calls))

      {:kill, life} ->
        kill_process(%{state | life: life}, Obituary.stopped())

      {:ignore, _life} ->
        state
    end
  end

  @doc "Ends the process, which has broken the protocol."
  @spec broken(State.t(), String.t()) :: State.t()
  def broken(state, why),
    do: kill_process(state, Obituary.protocol(state.settings.name, state.slot, why))

  @doc """
  The call that the process runs, or ran when it was decided to kill it; nil for none. The marker
  names it. Without a marker the oldest call must be the one.
  """
  @spec executing(State.t()) :: pos_integer | nil
  def executing(%State{blame: {:call, id}}), do: id

  def executing(%State{calls: %{queue: queue}, marker: marker}) do
    case {Marker.read(marker), queue} do
      {:error, [call | _]} -> call.id
      {:error, []} -> nil
      {{:ok, id}, _queue} -> id
    end
  end

  @doc """
  Kills the process as a group; its exit then ends its owner. Should no exit be reported, of a
  process that can't be killed, the owner does not wait for ever.

  It takes a while until the process is dead. What it answers meanwhile is as good as any answer, but it may
  begin another call then, which is not to blame: that is the `call` for which it is killed, or the
  one that it ran. And its lanes begin no other.
  """
  @spec kill_process(State.t(), Slither.Error.t(), pos_integer | nil) :: State.t()
  def kill_process(state, error, call \\ nil)
  def kill_process(%State{life: %{phase: :killed}} = state, _error, _call), do: state

  def kill_process(state, error, call) do
    state = %{state | blame: {:call, call || executing(state)}}
    for lane <- Tuple.to_list(state.lanes), do: Lane.doomed(lane)
    Guard.kill(state.process.os_pid)
    later(:gone, @kill_wait)
    %{state | life: Life.kill(state.life, error), calls: Calls.halt(state.calls)}
  end
end
