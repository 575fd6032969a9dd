defmodule Slither.Proof.Events do
  @moduledoc false
  # What a pool and its workers tell while a run goes on, with the time (monotonic, ms), in order.

  use Agent

  alias Slither.Telemetry

  @workers [[:slither, :pool, :worker, :up], [:slither, :pool, :worker, :down]]
  @runs [
    [:slither, :worker, :progress],
    [:slither, :dispatch, :run, :stop],
    [:slither, :dispatch, :run, :exception]
  ]

  @type event :: {atom, at :: integer, measurements :: map, metadata :: map}

  @doc "Begins to note the events of a pool's workers, and of its runs, until `stop/1`."
  @spec start(atom, :workers | :all) :: pid
  def start(pool, which \\ :all) do
    {:ok, events} = Agent.start_link(fn -> [] end)
    names = if which == :all, do: @workers ++ @runs, else: @workers
    :ok = Telemetry.attach({__MODULE__, events}, names, &__MODULE__.note/4, {events, pool})
    events
  end

  @doc "Ends it; what was noted."
  @spec stop(pid) :: [event]
  def stop(events) do
    _ = Telemetry.detach({__MODULE__, events})
    noted = Agent.get(events, & &1, :infinity)
    Agent.stop(events)
    Enum.reverse(noted)
  end

  @doc false
  @spec note([atom], map, map, {pid, atom}) :: :ok
  def note(event, measurements, %{pool: pool} = metadata, {events, pool}) do
    noted = {List.last(event), System.monotonic_time(:millisecond), measurements, metadata}
    Agent.cast(events, &[noted | &1])
  end

  def note(_event, _measurements, _metadata, _config), do: :ok
end
