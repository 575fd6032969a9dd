defmodule Slither.Testing.Worker do
  @moduledoc false
  # A worker of a `Slither.Testing.Pool`: the process that stands in the place of
  # `Slither.Python.Worker`. The pool's supervisor starts it, and its scheduler tells it to stop. It
  # has one lane, which runs functions in place of Python.

  use GenServer, restart: :temporary

  alias Slither.Error
  alias Slither.Python.{Board, Reports}
  alias Slither.Testing.{Inbox, Lane}

  @spec start_link({map, non_neg_integer, pid}) :: GenServer.on_start()
  def start_link({_settings, _slot, _scheduler} = arg), do: GenServer.start_link(__MODULE__, arg)

  @impl true
  def init({settings, slot, scheduler}) do
    {__MODULE__, functions} = settings.owner

    lane = %Lane{
      functions: functions,
      board: settings.board,
      slot: slot,
      scheduler: scheduler,
      pool: settings.name,
      worker: self()
    }

    lane = Lane.start_link(lane)
    Reports.worker(scheduler, slot, {:ready, [lane], nil})
    {:ok, {scheduler, slot, lane, settings.board}}
  end

  # Sent by `Slither.Python.Worker`, for whoever stops or kills a worker.
  @impl true
  def handle_cast({:stop, _reason}, state), do: leave(state, :worker_stopped)
  def handle_cast({:stop_idle, _reason}, state), do: leave(state, :worker_stopped)
  def handle_cast({:kill, %Error{reason: reason}}, state), do: leave(state, reason)
  def handle_cast(_unknown, state), do: {:noreply, state}

  @impl true
  def handle_call({Inbox, :keeps, lane, run}, _from, {scheduler, slot, _lane, _board} = state) do
    Reports.worker(scheduler, slot, {:session, lane, run})
    {:reply, :ok, state}
  end

  # As `Slither.Python.Worker` asks it; the lane answers, which knows what runs.
  def handle_call(:stack, from, {_scheduler, _slot, lane, _board} = state) do
    Lane.tell_stack(lane, from)
    {:noreply, state}
  end

  def handle_call(:runs, from, {_scheduler, _slot, lane, _board} = state) do
    Lane.tell_runs(lane, from)
    {:noreply, state}
  end

  def handle_call(_unknown, _from, state), do: {:reply, {:error, :unknown_call}, state}

  @impl true
  def handle_info(_run_on, state), do: {:noreply, state}

  defp leave({scheduler, slot, _lane, board} = state, reason) do
    Board.leave(board, slot, System.monotonic_time())
    error = %Error{reason: reason, message: "the worker was stopped"}
    Reports.worker(scheduler, slot, {:down, error})
    {:stop, :shutdown, state}
  end
end
