defmodule Slither.Python.Worker.Ending do
  @moduledoc false
  # The end of a worker: which call it ran, what is known of its death, and who is told. Runs in the
  # process of the worker's owner, which ends then.

  import Slither.Python.Worker.Effects, only: [executing: 1, hand_tape: 2, report: 2]

  require Logger

  alias Slither.Error
  alias Slither.Metrics.Handlers
  alias Slither.Protocol.Frame
  alias Slither.Python.{Asks, Board, Call, Guard, Lane, Obituary, Transport, Voice}
  alias Slither.Python.Memory.Kills
  alias Slither.Python.Obituary.{LastWords, Marker, StackMemory}
  alias Slither.Python.Worker.{Busy, Calls, Life, Memory, Stacks, State}
  alias Slither.Telemetry.Events

  @doc "The process is gone, with an exit status if that is known."
  @spec down(State.t(), Transport.status()) :: State.t()
  def down(%State{lanes: lanes} = state, status) do
    state = Stacks.ended(state)
    executing = executing(state)
    status = status || Obituary.told(Marker.report(state.marker))
    error = account(state, state.life.reason || ended(state, status), executing)
    log(state, error, executing)
    state = Busy.over(state)
    Handlers.forget()

    # The scheduler hears of the end before the lanes do. A lane's answer makes its holder return
    # the lease, and the scheduler must not grant that lane again.
    report(state, {if(lanes == {}, do: :failed, else: :down), error})
    state = hand_tape(state, executing)
    for lane <- Tuple.to_list(lanes), do: Lane.worker_down(lane, error, executing, state.answered)
    if state.calls.stall, do: Board.go_on(state.settings.board)
    why = %{reason: state.life.leaves || error.reason, error: if(!state.life.leaves, do: error)}
    Events.worker_down(state.born, Map.merge(State.identity(state), why))
    Memory.release(state)
    # On `release` the guard kills all processes that are left in the worker's group.
    Guard.release(state.process.os_pid)
    Marker.close(state.marker)
    StackMemory.close(state.stacks)
    %{state | life: Life.down(state.life)}
  end

  @doc "The owner ends, for whatever reason; after `down/2` little is left to do."
  @spec left(State.t()) :: term
  def left(state) do
    if state.life.phase != :down do
      Handlers.forget()
      Memory.release(state)
      Marker.close(state.marker)
      StackMemory.close(state.stacks)
      if state.calls.stall, do: Board.go_on(state.settings.board)
    end

    if state.asks, do: Asks.stop(state.asks)
  end

  defp ended(%State{life: %{phase: :stopping}}, _status), do: Obituary.stopped()

  defp ended(%State{life: %{phase: :starting}, process: process} = state, status) do
    why = state.settings.launcher.explain(process)
    Obituary.ended_early(state.settings.name, process.python, why, status)
  end

  # Nobody of ours has killed it, or `life` had a reason.
  defp ended(state, 137) do
    died = Obituary.ended(State.identity(state), 137, state.unheard?)
    Obituary.killed_by_kernel(died, Kills.told(state.kills))
  end

  defp ended(state, status), do: Obituary.ended(State.identity(state), status, state.unheard?)

  # Adds the worker's last words to the error of a
  # process that died, rather than was told to leave.
  defp account(state, %Error{reason: reason} = error, executing)
       when reason in [:worker_died, :timeout, :memory, :start_failed] do
    stderr = LastWords.ending(Marker.words(state.marker) <> LastWords.read(state.words))
    {facts, _voice} = Voice.facts(state.voice, executing || 0, state.calls.queue)
    Obituary.account(error, facts, stderr, Marker.report(state.marker))
  end

  defp account(_state, error, _executing), do: error

  # A death is logged whatever becomes of the call that the worker ran, and also if it ran none.
  defp log(%State{life: %{phase: phase}} = state, %Error{reason: reason} = error, executing)
       when phase != :starting and reason in [:worker_died, :memory, :protocol_error] do
    facts = Map.take(error.details, [:status, :signal, :call, :batch, :run, :pipe, :stage])
    line = Obituary.line(error, Calls.fetch(state.calls, executing))
    Logger.error(line, Keyword.new(facts))
  end

  # Nobody gets these errors, and a worker was killed.
  defp log(state, %Error{reason: reason, details: %{stack: _}} = error, executing)
       when reason in [:cancelled, :worker_stopped],
       do: Logger.warning(Obituary.line(error, Calls.fetch(state.calls, executing)))

  # Nor this one's, where what was over its time is the end of something.
  defp log(state, %Error{reason: :timeout} = error, executing) do
    call = Calls.fetch(state.calls, executing)

    with %Call{head: head} <- call,
         target when hd(target) == "drop" or target == ["session", "end"] <-
           Frame.call_target(head),
         do: Logger.warning(Obituary.line(error, call))

    :ok
  end

  defp log(_state, _error, _executing), do: :ok
end
