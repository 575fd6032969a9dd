defmodule Slither.Python.Template.Fates do
  @moduledoc false
  # What becomes of a template, and who is told: it is refused, fails, hangs or ends, and where it is
  # meanwhile. Runs in the process of its owner, `Slither.Python.Template`, which calls it.

  require Logger

  alias Slither.Error
  alias Slither.Python.{Asks, Guard, Obituary, OSProcess, Transport}
  alias Slither.Python.Launcher.Spawn
  alias Slither.Python.Obituary.{Marker, StackMemory}
  alias Slither.Python.Template.{Answers, Brood, Looking, State}
  alias Slither.Telemetry.Events

  # ms after which a killed process counts as gone, even if the system has not said so.
  @kill_wait 2_000

  @doc "Nothing can be forked, for a reason: whoever has asked spawns."
  @spec refused(State.t(), String.t()) :: State.t()
  def refused(state, why) do
    Events.template_refused(Map.put(facts(state), :reason, why))

    Logger.warning(
      "pool #{inspect(state.settings.name)} starts each worker anew, as nothing " <>
        "can be forked: #{why}"
    )

    answer_waiting(tell_keeper(state, {:refused, why}), :spawn)
  end

  @doc "It could not start."
  @spec failed(State.t(), Error.t()) :: State.t()
  def failed(state, error) do
    down_event(state, error.reason, error)

    answer_waiting(tell_keeper(state, {:failed, error}), {:error, error})
  end

  defp answer_waiting(state, answer) do
    for {who, _variables} <- Enum.reverse(state.waiting), do: reply(state, who, answer)
    %{state | waiting: []}
  end

  @doc "Asks where it is, for who wants to know and for the error with which it ends."
  @spec look(State.t()) :: State.t()
  def look(%State{looking: nil} = state),
    do: looked(state, Looking.begin(state.stacks, state.overdue))

  def look(state), do: state

  @doc "It has said where it is, or is to be asked again."
  @spec looked(State.t(), Looking.next()) :: State.t()
  def looked(state, {:again, pause, looking}) do
    later(:where, pause)
    %{state | looking: looking, stacks: looking.memory}
  end

  def looked(state, {:over, stack}) do
    os_pid = state.process && state.process.os_pid
    for {from, slot} <- state.curious, do: Answers.nowhere(from, slot, os_pid, stack)
    state = %{state | curious: [], looking: nil}
    if state.overdue, do: kill(state, Obituary.stack(state.overdue, stack)), else: state
  end

  @doc "It says that it can not start."
  @spec fail(State.t(), (atom, String.t() -> Error.t())) :: State.t()
  def fail(state, error),
    do: %{state | reason: state.reason || error.(state.settings.name, state.process.python)}

  @doc "Ends it, as it has broken the protocol."
  @spec broken(State.t(), String.t()) :: State.t()
  def broken(state, why) do
    error = Obituary.protocol(state.settings.name, 0, why)
    kill(state, %{error | message: "the template of workers broke the protocol: #{why}"})
  end

  @doc "Ends it, as it does not do what it is asked."
  @spec hung(State.t(), String.t()) :: State.t()
  def hung(state, why) do
    name = state.settings.name
    message = "the template of workers (pid #{state.process.os_pid}) hangs: #{why}: killed"
    kill(state, %Error{reason: :start_failed, message: message, where: "pool #{inspect(name)}"})
  end

  # Its workers end with it.
  defp kill(%State{reason: reason} = state, _error) when reason != nil, do: state

  defp kill(state, error) do
    Guard.kill(state.process.os_pid)
    later(:gone, @kill_wait)
    %{state | reason: error}
  end

  @doc "Stops one that leaves, once it has no worker."
  @spec settle(State.t()) :: {:noreply, State.t()} | {:stop, :normal, State.t()}
  def settle(%State{leaves?: true, phase: :ready} = state) do
    if Brood.empty?(state.brood), do: {:stop, :normal, state}, else: {:noreply, state}
  end

  def settle(state), do: {:noreply, state}

  @doc "A worker has ended: tells its owner, or whoever has asked for it."
  @spec ended(State.t(), pos_integer, Brood.who(), boolean, Transport.status()) :: term
  def ended(state, os_pid, {owner, _ref} = who, in?, status) do
    if in? do
      Answers.ended(owner, os_pid, status)
    else
      why = "#{state.process.python}: the worker, which was forked, has not come in"
      reply(state, who, {:error, early(state, why, status)})
    end
  end

  @doc "It is gone, with an exit status if that is known."
  @spec down(State.t(), non_neg_integer | nil) :: State.t()
  def down(state, status) do
    error = state.reason || gone(state, status)
    Guard.release(state.process.os_pid)
    report = Marker.report(state.marker)
    stderr = Marker.words(state.marker)
    error = Obituary.account(error, %{}, stderr, report)
    close(state)
    state = if state.phase == :starting, do: failed(state, error), else: lost(state, error)
    %{state | phase: :down}
  end

  defp gone(%State{phase: :starting} = state, status),
    do: early(state, Spawn.explain(state.process), status)

  defp gone(state, status) do
    how = if status, do: OSProcess.describe(status), else: "its port closed"
    message = "the template of workers (pid #{state.process.os_pid}) died: #{how}"
    where = "pool #{inspect(state.settings.name)}"
    %Error{reason: :worker_died, message: message, where: where}
  end

  defp early(state, why, status),
    do: Obituary.ended_early(state.settings.name, state.process.python, why, status)

  # Whoever waits for a fork asks the next template.
  defp lost(state, error) do
    Logger.error("#{Exception.message(error)}; its workers end with it, and others start")
    down_event(state, error.reason, error)
    state = tell_keeper(state, :down)
    for {_call, who} <- state.brood.asked, do: reply(state, who, :again)

    for {os_pid, child} <- state.brood.children do
      if child.in?,
        do: ended(state, os_pid, child.who, true, :template),
        else: reply(state, child.who, :again)
    end

    state
  end

  @doc "Closes what was opened for it."
  @spec close(State.t()) :: term
  def close(state) do
    if state.asks, do: Asks.stop(state.asks)
    Marker.close(state.marker)
    StackMemory.close(state.stacks)
  end

  @doc "Answers somebody who has asked for a worker."
  @spec reply(State.t(), Brood.who(), Answers.answer()) :: State.t()
  def reply(state, who, answer) do
    Answers.answer(who, answer)
    tell_keeper(state, {:answered, who})
  end

  @doc "Tells its keeper."
  @spec tell_keeper(State.t(), term) :: State.t()
  def tell_keeper(state, event) do
    Answers.keeper(state.keeper, event)
    state
  end

  @doc "Has its end heard."
  @spec down_event(State.t(), atom, Error.t() | nil) :: :ok
  def down_event(state, reason, error),
    do: Events.template_down(state.born, Map.merge(facts(state), %{reason: reason, error: error}))

  @doc "What events tell of it."
  @spec facts(State.t()) :: map
  def facts(state),
    do: %{pool: state.settings.name, os_pid: state.process && state.process.os_pid}

  @doc "Has the owner told in so many ms; never for `:infinity`."
  @spec later(term, timeout) :: reference | nil
  def later(_message, :infinity), do: nil
  def later(message, time), do: Process.send_after(self(), message, time)
end
