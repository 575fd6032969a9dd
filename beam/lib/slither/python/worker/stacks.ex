defmodule Slither.Python.Worker.Stacks do
  @moduledoc false
  # Asks a worker where it is: before it is killed, so that the error can say so, and for whoever wants
  # to know. Runs in the process of the worker's owner, which calls it, and never waits: it looks by
  # a timer. What the worker was to be killed for may be over before it has answered; then it lives.

  import Slither.Python.Worker.Effects

  alias Slither.Error
  alias Slither.Python.{Call, Obituary, OSProcess, Target}
  alias Slither.Python.Obituary.{Marker, Stack, StackMemory}
  alias Slither.Python.Worker.{Asking, Calls, Life, State}

  @typedoc "What a worker does now; `stack` is nil where it could not be told."
  @type answer :: %{
          worker: non_neg_integer,
          os_pid: pos_integer | nil,
          call: String.t() | nil,
          stack: String.t() | nil
        }

  @doc "The process is to be killed for a cause, once it has said where it is."
  @spec end_for(State.t(), Asking.cause(), Error.t()) :: State.t()
  def end_for(%State{life: %{phase: :killed}} = state, _cause, _error), do: state

  def end_for(%State{asking: %Asking{kills: kills} = asking} = state, cause, error),
    do: %{state | asking: %{asking | kills: kills ++ [{error, cause}]}}

  def end_for(state, cause, error), do: ask(state, [{error, cause}])

  @doc "Somebody wants to know what the worker does."
  @spec tell(State.t(), GenServer.from()) :: State.t()
  def tell(%State{asking: %Asking{from: from} = asking} = state, who),
    do: %{state | asking: %{asking | from: [who | from]}}

  def tell(%State{life: %{phase: :killed}} = state, who),
    do: answer(state, [who], running(state), nil)

  def tell(state, who) do
    case ask(state, []) do
      %State{asking: nil} = state -> answer(state, [who], running(state), nil)
      %State{asking: asking} = state -> %{state | asking: %{asking | from: [who]}}
    end
  end

  defp ask(state, kills) do
    case {StackMemory.ask(state.stacks), kills} do
      {{:ok, memory}, kills} ->
        later(:stack, 1)
        call = with %Call{id: id} <- running(state), do: id
        asking = %Asking{call: call, began: now(), used: used(state), kills: kills}
        %{state | stacks: memory, asking: asking}

      {:error, [{error, cause} | _]} ->
        kill(%{state | asking: nil}, {error, cause}, nil)

      {:error, []} ->
        %{state | asking: nil}
    end
  end

  defp used(state), do: OSProcess.used(state.stacks.os_pid)

  @doc "It is time to look whether the worker has answered."
  @spec look(State.t()) :: State.t()
  def look(%State{asking: nil} = state), do: state

  def look(%State{asking: asking, stacks: memory} = state) do
    progress = StackMemory.progress(memory, asking.signal)

    case Asking.look(asking, progress, now(), fn -> used(state) end) do
      {:again, pause, asking} ->
        later(:stack, pause)
        %{state | asking: asking}

      {:force, pause, asking} ->
        later(:stack, pause)
        %{state | asking: %{asking | signal: StackMemory.force(memory)}}

      :over ->
        stack = StackMemory.read(memory)
        state = answer(state, asking.from, Calls.fetch(state.calls, asking.call), stack)
        settle(%{state | asking: nil}, Asking.settle(asking, &holds?(state, &1)), stack)
    end
  end

  @doc """
  The process has ended: where it was to be killed, and was forced to answer, it counts as killed, for a
  forced answer may crash. If what it was to be killed for was over by then, nobody is to blame.
  """
  @spec ended(State.t()) :: State.t()
  def ended(%State{asking: %Asking{signal: signal} = asking, life: life} = state)
      when signal != nil do
    case Asking.settle(asking, &holds?(state, &1)) do
      {:kill, {error, cause}} ->
        error = Obituary.stack(error, StackMemory.read(state.stacks))
        blame = {:call, call_of(cause) || executing(state)}
        %{state | life: Life.fail(life, error), blame: blame}

      _over when asking.kills != [] ->
        %{state | blame: {:call, nil}}

      _nobody_wanted_it ->
        state
    end
  end

  # Or it was to end for its memory, and the system was faster.
  def ended(%State{asking: %Asking{kills: kills}, life: life} = state) do
    case Enum.find(kills, &match?({_error, {:memory, _id}}, &1)) do
      nil -> state
      {error, {:memory, id}} -> %{state | life: Life.fail(life, error), blame: {:call, id}}
    end
  end

  def ended(state), do: state

  # Another has killed it meanwhile.
  defp settle(%State{life: %{phase: :killed}} = state, _end, _stack), do: state
  defp settle(state, :go_on, _stack), do: state
  defp settle(state, {:again, kills}, _stack), do: ask(state, kills)
  defp settle(state, {:kill, why}, stack), do: kill(state, why, stack)

  defp kill(state, {error, cause}, stack),
    do: kill_process(state, Obituary.stack(error, stack), call_of(cause))

  defp call_of({kind, id}) when kind in [:call, :memory], do: id
  defp call_of({:item, id, _what}), do: id
  defp call_of(_phase), do: nil

  defp holds?(state, {:call, id}), do: Calls.running?(state.calls, id)

  defp holds?(state, {:item, id, what}) do
    Calls.running?(state.calls, id) and
      Calls.looked(state.calls, Marker.at(state.marker, id), now()) == {:over, what}
  end

  defp holds?(_state, {:memory, _id}), do: true

  defp holds?(state, phase), do: state.life.phase == phase

  defp running(%State{calls: %{queue: [call | _]}}), do: call
  defp running(_idle), do: nil

  defp answer(state, who, call, stack) do
    answer = %{
      worker: state.slot,
      os_pid: State.identity(state).os_pid,
      call: with(%Call{} = call <- call, do: Target.name(Call.target(call))),
      stack: with(%Stack{text: text} <- stack, do: text)
    }

    Enum.each(who, &GenServer.reply(&1, answer))
    state
  end
end
