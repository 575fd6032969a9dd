defmodule Slither.Python.Templates do
  @moduledoc false
  # Which template a pool's workers are forked from: a process that starts one, another when that has
  # ended, and another before workers of new code start. The pool starts it before its scheduler;
  # `Launcher.Fork` asks it for workers, in the processes of their owners.

  use GenServer

  alias Slither.Label
  alias Slither.Python.Template
  alias Slither.Python.Template.Answers

  # ms that templates get to end.
  @patience 5_000

  # `newest` is the one to ask, which may not be ready; `last` is the one before, which is asked
  # again should that fail. `refused` says why nothing can be forked. `os_pids` has those of all.
  # `asked` has the forks that templates have not answered, each with its template: one that ends may not
  # have heard of them. `failed` says why templates could not start that are about to end.
  defstruct [:settings, :newest, :last, :refused, os_pids: %{}, asked: %{}, failed: %{}]

  @doc "Starts it, and the first template with it."
  @spec start_link({map, GenServer.name()}) :: GenServer.on_start()
  def start_link({settings, name}), do: GenServer.start_link(__MODULE__, settings, name: name)

  @doc """
  Has a worker forked with these variables. The answer comes as `{Slither.Python.Template.Answers, ref, answer}`,
  with the reference that this returns, which is a monitor, too.
  """
  @spec fork(pid, [{charlist, charlist | false}]) :: reference
  def fork(templates, variables) do
    ref = Process.monitor(templates)
    GenServer.cast(templates, {:fork, {self(), ref}, variables})
    ref
  end

  @doc "Answers whoever asked the worker in `slot` where it is, which waits for a template: where that is."
  @spec where(pid, GenServer.from(), non_neg_integer) :: :ok
  def where(templates, from, slot), do: GenServer.cast(templates, {:where, from, slot})

  @doc "Has workers forked from a new template from now on: what is imported may have changed."
  @spec renew(GenServer.server()) :: :ok
  def renew(templates), do: GenServer.cast(templates, :renew)

  @doc "The template's process, and why nothing can be forked; nil where that does not apply."
  @spec status(GenServer.server(), timeout) ::
          %{os_pid: pos_integer | nil, refused: String.t() | nil} | nil
  def status(templates, timeout) do
    GenServer.call(templates, :status, timeout)
  catch
    :exit, _gone_or_late -> nil
  end

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    Label.set({__MODULE__, settings.name})
    {:ok, start(%__MODULE__{settings: settings})}
  end

  @impl true
  def handle_cast({:fork, who, _variables}, %__MODULE__{refused: why} = state) when why != nil do
    Answers.answer(who, :spawn)
    {:noreply, state}
  end

  def handle_cast({:fork, who, variables}, state) do
    state = if state.newest, do: state, else: start(state)
    Template.fork(state.newest, who, variables)
    {:noreply, put_in(state.asked[who], state.newest)}
  end

  def handle_cast({:where, from, slot}, %__MODULE__{newest: newest} = state) do
    if newest, do: Template.where(newest, from, slot), else: Answers.nowhere(from, slot)
    {:noreply, state}
  end

  # One that is starting may have read what has changed since.
  def handle_cast(:renew, %__MODULE__{newest: newest, last: nil} = state),
    do: {:noreply, start(%{state | refused: nil, last: newest, newest: nil})}

  def handle_cast(:renew, %__MODULE__{newest: newest} = state) do
    Template.leave(newest)
    {:noreply, start(%{state | refused: nil, newest: nil})}
  end

  @impl true
  def handle_call(:status, _from, state) do
    os_pid = state.os_pids[state.newest] || state.os_pids[state.last]
    {:reply, %{os_pid: os_pid, refused: state.refused}, state}
  end

  @impl true
  def handle_info({Answers, template, {:started, os_pid}}, state),
    do: {:noreply, put_in(state.os_pids[template], os_pid)}

  def handle_info({Answers, template, :ready}, %__MODULE__{newest: template} = state) do
    if state.last, do: Template.leave(state.last)
    {:noreply, %{state | last: nil}}
  end

  # Nothing that it would import now can be forked.
  def handle_info({Answers, template, {:refused, why}}, %__MODULE__{newest: template} = state) do
    if state.last, do: Template.leave(state.last)
    {:noreply, %{state | refused: why, newest: nil, last: nil}}
  end

  def handle_info({Answers, _template, {:answered, who}}, state),
    do: {:noreply, %{state | asked: Map.delete(state.asked, who)}}

  def handle_info({Answers, template, {:failed, error}}, state),
    do: {:noreply, over(put_in(state.failed[template], error), template)}

  def handle_info({Answers, template, _refused_or_down}, state),
    do: {:noreply, over(state, template)}

  def handle_info({:EXIT, template, _reason}, state) do
    {error, failed} = Map.pop(state.failed, template)
    {unheard, asked} = Enum.split_with(state.asked, &match?({_who, ^template}, &1))
    answer = if error, do: {:error, error}, else: :again
    for {who, _template} <- unheard, do: Answers.answer(who, answer)
    os_pids = Map.delete(state.os_pids, template)
    state = %{state | os_pids: os_pids, failed: failed, asked: Map.new(asked)}
    {:noreply, over(state, template)}
  end

  @impl true
  def terminate(_reason, state) do
    templates = Map.keys(state.os_pids) ++ for(pid <- [state.newest, state.last], pid, do: pid)
    monitors = for pid <- Enum.uniq(templates), do: end_one(pid)
    until = now() + @patience

    for monitor <- monitors do
      receive do
        {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
      after
        max(until - now(), 0) -> :ok
      end
    end
  end

  defp end_one(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :shutdown)
    monitor
  end

  defp start(state) do
    {:ok, template} = Template.start_link({state.settings, self()})
    %{state | newest: template}
  end

  defp over(%__MODULE__{newest: template, last: last} = state, template),
    do: %{state | newest: last, last: nil}

  defp over(%__MODULE__{last: template} = state, template), do: %{state | last: nil}
  defp over(state, _template), do: state

  defp now, do: System.monotonic_time(:millisecond)
end
