defmodule Slither.Pool.Effects do
  @moduledoc false
  # Carries out what the pure modules of a pool decide, in the scheduler's process: the only place
  # of the pool that sends, starts and stops. `Slither.Pool.State` lists the effects.

  require Logger

  alias Slither.Pool.{Settings, Staff, State}
  alias Slither.Pool.Elastic.Need
  alias Slither.Python.{Board, Inbox, Lane, Templates, Worker}
  alias Slither.Telemetry.Events

  # ms within which a worker's owner sees the end of a process that it has killed.
  @slack 2_000

  @doc "Carries out the effects of an event."
  @spec run(State.t()) :: State.t()
  def run(%State{effects: effects} = state),
    do: effects |> Enum.reverse() |> Enum.reduce(%{state | effects: []}, &perform/2)

  defp perform({:tell, inbox, message}, state), do: done(state, Inbox.tell(inbox, message))

  defp perform({:grant, waiter, lane}, state) do
    Inbox.tell(waiter.inbox, {:granted, waiter.ref, lane})
    # What is done for a session or a run is no call of anybody's.
    if waiter.service in [nil, :more],
      do: Events.lane_granted(state.settings.name, System.monotonic_time() - waiter.asked)

    state
  end

  # A handler that yields waits while nobody reads its results. Once callers wait for a worker,
  # such handlers run on, so that their lanes come free.
  defp perform({:waiting, count}, state) do
    if Board.put_waiting(state.settings.board, count),
      do: for({_slot, %{pid: pid}} <- state.staff.members, do: Worker.run_on(pid))

    state
  end

  defp perform({:at, at, _message}, %State{timer: {_ref, armed}} = state) when armed <= at,
    do: state

  defp perform({:at, at, message}, state) do
    with {ref, _later} <- state.timer, do: Process.cancel_timer(ref)
    %{state | timer: {Process.send_after(self(), message, at, abs: true), at}}
  end

  defp perform({:reply, from, answer}, state), do: done(state, GenServer.reply(from, answer))
  defp perform({:watch, pid}, state), do: done(state, Process.monitor(pid))

  defp perform({:start, slot}, %State{settings: settings} = state) do
    Board.reset(settings.board, slot)
    {owner, _facts} = settings.owner
    settings = %{settings | place: state.staff.members[slot].place}
    start = {owner, :start_link, [{settings, slot, self()}]}
    child = %{id: owner, start: start, restart: :temporary}
    {:ok, pid} = DynamicSupervisor.start_child(settings.workers, child)
    Process.monitor(pid)
    watched = Map.put(state.watched, pid, {:worker, slot})
    %{state | staff: Staff.started(state.staff, slot, pid), watched: watched}
  end

  defp perform({:stop, slot, reason}, state),
    do: done(state, Worker.stop(pid(state, slot), reason))

  defp perform({:stop_idle, slot, reason}, state),
    do: done(state, Worker.stop_idle(pid(state, slot), reason))

  # `Board.recall/2` has the holders of this worker's lanes return them after their current call.
  defp perform({:leaves, slot, reason}, %State{settings: settings} = state) do
    %{pid: pid, os_pid: os_pid} = state.staff.members[slot]
    calls = Board.served(settings.board, slot)
    Board.recall(settings.board, slot)
    Worker.run_on(pid)
    log(state, :info, ": worker #{slot} (pid #{os_pid}) leaves after #{calls} calls: #{reason}")
  end

  defp perform({:left, slot}, state),
    do: done(state, Board.leave(state.settings.board, slot, System.monotonic_time()))

  defp perform({:kill, worker, error}, state), do: done(state, Worker.kill(worker, error))
  defp perform({:stop_lane, lane}, state), do: done(state, Lane.stop(lane))
  defp perform({:idle?, lane, ref}, state), do: done(state, Lane.idle?(lane, self(), ref))

  defp perform({:size, size, most}, state),
    do: done(state, Board.put_size(state.settings.board, size, most))

  defp perform({:resized, from, to, why}, state) do
    Events.pool_resized(from, to, %{pool: state.settings.name, why: why})
    log(state, :info, ": #{to} workers in place of #{from}: #{Need.words(why)}")
  end

  defp perform({:after, time, message}, state),
    do: done(state, Process.send_after(self(), message, time))

  # A chore is a task that waits for lanes like any other caller. It ends with the pool.
  defp perform({:chore, name, arguments}, %State{settings: settings} = state) do
    arguments = [State.handle(state, self()) | arguments]
    done(state, Task.Supervisor.start_child(settings.tasks, settings.chores, name, arguments))
  end

  # Workers of a restart start afterwards, from what is imported then.
  defp perform(:renew_templates, %State{settings: %{templates: nil}} = state), do: state

  defp perform(:renew_templates, %State{settings: %{templates: templates}} = state),
    do: done(state, Templates.renew(templates))

  defp perform({:note, id}, state), do: done(state, :ets.insert(state.settings.sessions, {id}))
  defp perform({:forget, id}, state), do: done(state, :ets.delete(state.settings.sessions, id))
  defp perform({:log, level, text}, state), do: log(state, level, text)

  defp done(state, _sent), do: state

  defp pid(state, slot), do: state.staff.members[slot].pid

  defp log(%State{settings: %{name: name}} = state, level, text) do
    Logger.log(level, "pool #{inspect(name)}#{text}", pool: name)
    state
  end

  @doc "ms that ending all workers may take."
  @spec patience(Settings.t()) :: pos_integer
  def patience(settings), do: settings.shutdown + @slack

  @doc "Has all workers stop, and waits until they have."
  @spec stop_all(State.t()) :: :ok
  def stop_all(state) do
    pids = for {_slot, member} <- state.staff.members, do: member.pid
    Enum.each(pids, &Worker.stop(&1, :shutdown))
    await_end(MapSet.new(pids), now() + patience(state.settings))
  end

  defp await_end(pids, deadline) do
    if MapSet.size(pids) > 0 do
      receive do
        {:DOWN, _monitor, :process, pid, _reason} -> await_end(MapSet.delete(pids, pid), deadline)
      after
        max(deadline - now(), 0) -> :ok
      end
    else
      :ok
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
