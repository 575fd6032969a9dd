defmodule Slither.Watch.Server do
  @moduledoc false
  # The process that makes snapshots: one a second at most, for all who look, and none while nobody
  # does. Once a second it notes how the counters stand, for rates and lines. The application starts
  # it; `Slither.Watch` asks it.

  use GenServer

  alias Slither.Telemetry.Failures
  alias Slither.Watch.{Counters, Samples, Snapshot}

  # ms between two samples, and for which a snapshot is new enough.
  @second 1_000
  # Samples after which old failures are looked for.
  @tidy 60
  # ms within which a snapshot is made: longer than all that it waits for.
  @patience 15_000

  defstruct [:began, :made, samples: %Samples{}, held: %{}, ticks: 0]

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "A snapshot that is at most a second old."
  @spec snapshot() :: map
  def snapshot, do: GenServer.call(__MODULE__, :snapshot, @patience)

  @impl true
  def init(nil) do
    {:ok, sample(%__MODULE__{began: now()})}
  end

  @impl true
  def handle_call(:snapshot, _from, %__MODULE__{made: {at, snapshot}} = state) do
    if now() - at < @second,
      do: {:reply, snapshot, state},
      else: make(state)
  end

  def handle_call(:snapshot, _from, state), do: make(state)

  defp make(state) do
    snapshot = Snapshot.make(state)
    {:reply, snapshot, %{state | made: {now(), snapshot}}}
  end

  @impl true
  def handle_info(:sample, state), do: {:noreply, sample(state)}
  # A late answer of a pool.
  def handle_info(_message, state), do: {:noreply, state}

  defp sample(state) do
    Process.send_after(self(), :sample, @second)
    if rem(state.ticks, @tidy) == 0, do: Failures.forget_old()
    now = now()
    # A snapshot that nobody has asked for again is let go.
    made = with {at, _snapshot} when now - at > 10 * @second <- state.made, do: nil

    %{
      state
      | samples: Samples.add(state.samples, now, Counters.read()),
        held: Snapshot.held(state.held, now),
        made: made,
        ticks: state.ticks + 1
    }
  end

  defp now, do: System.monotonic_time(:millisecond)
end
