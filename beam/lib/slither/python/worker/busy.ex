defmodule Slither.Python.Worker.Busy do
  @moduledoc false
  # When a worker is at a call, and what an observer is told of that one and of the worker's last
  # lines. Runs in the process of the worker's owner, which calls it; the lane of a
  # `Slither.Testing.Pool` tells its call with `run/4`.

  alias Slither.Context
  alias Slither.Protocol.Frame
  alias Slither.Python.{Board, Call, Job, Target, Voice}
  alias Slither.Python.Worker.{Calls, State}

  @typedoc """
  The call that runs: what it is of, and where it belongs, nil where that does not apply. `since` and
  `deadline` are the ms that it has run and the ms that it has left; `stalled` says that it waits for
  the reader of its results, which uses up none of the latter.
  """
  @type run :: %{
          call: String.t(),
          pipe: atom | String.t() | nil,
          stage: atom | String.t() | nil,
          run: String.t() | nil,
          session: String.t() | nil,
          batch: non_neg_integer,
          attempt: pos_integer,
          items: pos_integer,
          since: non_neg_integer,
          deadline: non_neg_integer | nil,
          stalled: boolean
        }
  @type answer :: %{worker: non_neg_integer, runs: run | nil, said: [Voice.Lines.line()]}

  @doc "The calls are other ones: one may have begun, and one ended."
  @spec turn(State.t(), Calls.t()) :: State.t()
  def turn(%State{busy: {id, _since}} = state, %Calls{queue: [%Call{id: id} | _]}), do: state
  def turn(%State{busy: nil} = state, %Calls{queue: []}), do: state

  def turn(%State{settings: %{board: board}, slot: slot} = state, calls) do
    now = System.monotonic_time()

    case {state.busy, calls.queue} do
      {_busy, []} ->
        Board.rest(board, slot, now)
        %{state | busy: nil}

      {nil, [%Call{id: id} | _]} ->
        Board.begin(board, slot, now)
        %{state | busy: {id, now}}

      {_another, [%Call{id: id} | _]} ->
        %{state | busy: {id, now}}
    end
  end

  @doc "The worker is gone, and with it the call that ran."
  @spec over(State.t()) :: State.t()
  def over(%State{settings: %{board: board}, slot: slot} = state) do
    now = System.monotonic_time()
    if state.lanes != {}, do: Board.leave(board, slot, now)
    %{state | busy: nil}
  end

  @doc "What the worker does now, and its last lines."
  @spec tell(State.t()) :: answer
  def tell(%State{slot: slot, voice: voice} = state),
    do: %{worker: slot, runs: runs(state, System.monotonic_time()), said: Voice.said(voice)}

  defp runs(%State{busy: {id, since}, calls: %{queue: [%Call{id: id} = call | _]} = calls}, now) do
    # By one reading of the clock: the owner may lose its core between two.
    run(call, Call.target(call), now - since, %{
      items: call.items,
      deadline: left(calls, ms(now)),
      stalled: calls.stall != nil
    })
  end

  defp runs(_idle, _now), do: nil

  @doc "What is told of a call, or of the job that it is of, that has `ran` for so long."
  @spec run(Call.t() | Job.t(), [String.t()], integer, map) :: run
  def run(call, target, ran, facts) do
    call.context
    |> names()
    |> Map.merge(facts)
    |> Map.merge(%{
      call: Target.name(target),
      session: Frame.call_context(call.head)["session"],
      batch: call.batch,
      attempt: call.attempt,
      since: ms(ran)
    })
  end

  defp ms(native), do: System.convert_time_unit(native, :native, :millisecond)

  defp left(%Calls{stall: {:left, left}}, _now), do: left
  defp left(%Calls{deadline: nil}, _now), do: nil
  defp left(%Calls{deadline: at}, now), do: max(at - now, 0)

  # As the one who began the run has named them; nobody waits for a call without a context any more,
  # or it is of no run.
  defp names(nil), do: %{pipe: nil, stage: nil, run: nil}

  defp names(context) do
    %Context{pipe: pipe, stage: stage, runtime: runtime} = :erlang.binary_to_term(context)
    %{pipe: pipe, stage: stage, run: runtime[:run]}
  end
end
