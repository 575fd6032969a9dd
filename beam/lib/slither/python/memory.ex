defmodule Slither.Python.Memory do
  @moduledoc false
  # The process of the node that looks at the memory of workers with a limit, all of them by one look
  # at the system's processes, and tells the owner of one that is over it. Owners call it. What it
  # watches is in a table that outlives it: one that starts anew goes on where the last one ended.
  #
  # It looks each `@interval` ms while a worker is at a call or has answered none yet, sooner where one
  # grows so fast that it would be over its limit by then, and each `@idle`-th time else. `Groups`
  # reads, `Watched` decides.

  use GenServer

  alias Slither.Python.{Board, OSProcess}
  alias Slither.Python.Memory.{Groups, Watched}
  alias Slither.Python.Worker.Inbox

  @table __MODULE__
  # ms between two looks; to ask `ps` costs the start of a process.
  @interval 250
  @interval_of_ps 2_000
  @idle 4

  defstruct groups: %Groups{}, watched: %{}, timer: nil, looks: 0

  @doc "Makes the table; the application calls it before a worker can start."
  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public])
    :ok
  end

  @doc "Starts the node's."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(_options \\ []), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  Has the group of a process looked at, of the caller's, which is the worker of a slot: the caller is
  told, by `Worker.Inbox.over/2`, each time that it takes more than `limit` bytes.
  """
  @spec watch(pos_integer, pos_integer, Board.t(), Board.slot()) :: :ok
  def watch(os_pid, limit, board, slot) do
    :ets.insert(@table, {self(), os_pid, limit, board, slot})
    GenServer.cast(__MODULE__, :watch)
  end

  @doc "It is gone, or the caller is about to."
  @spec release() :: :ok
  def release do
    :ets.delete(@table, self())
    :ok
  rescue
    # The application has ended, and its tables with it.
    ArgumentError -> :ok
  end

  @impl true
  def init(nil), do: {:ok, set(%__MODULE__{}, 0)}

  @impl true
  def handle_cast(:watch, %__MODULE__{timer: nil} = state), do: {:noreply, set(state, interval())}
  def handle_cast(:watch, state), do: {:noreply, state}

  @impl true
  def handle_info(:look, state) do
    case entries() do
      [] -> {:noreply, %__MODULE__{looks: state.looks}}
      entries -> {:noreply, turn(%{state | looks: state.looks + 1}, entries)}
    end
  end

  def handle_info(_late, state), do: {:noreply, state}

  # An owner that was killed has not taken its worker out.
  defp entries do
    {here, gone} = Enum.split_with(:ets.tab2list(@table), &Process.alive?(elem(&1, 0)))
    for {owner, _, _, _, _} <- gone, do: :ets.delete(@table, owner)
    here
  end

  defp turn(state, entries) do
    if rem(state.looks, @idle) == 0 or Enum.any?(entries, &at_work?/1),
      do: look(state, entries),
      else: set(state, interval())
  end

  # Imports take memory as calls do, and so does what the first call loads.
  defp at_work?({_owner, _os_pid, _limit, board, slot}),
    do: Board.at_call?(board, slot) or Board.served(board, slot) == 0

  defp look(state, entries) do
    {groups, read} = Groups.read(state.groups, Enum.map(entries, &elem(&1, 1)), now())

    watched =
      Map.new(entries, fn {owner, os_pid, limit, _board, _slot} ->
        watched = Map.get(state.watched, owner) || %Watched{limit: limit}
        {owner, one(watched, owner, Map.get(groups, os_pid, []))}
      end)

    wait = watched |> Map.values() |> Enum.map(&Watched.wait(&1, interval())) |> Enum.min()
    set(%{state | groups: read, watched: watched}, wait)
  end

  defp one(watched, owner, processes) do
    case Watched.look(watched, processes, now(), &Groups.share/1) do
      {:within, watched} ->
        watched

      {:over, facts, watched} ->
        Inbox.over(owner, facts)
        watched
    end
  end

  defp set(state, wait), do: %{state | timer: Process.send_after(self(), :look, wait)}
  defp interval, do: if(OSProcess.proc?(), do: @interval, else: @interval_of_ps)
  defp now, do: System.monotonic_time(:millisecond)
end
