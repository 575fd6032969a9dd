defmodule Slither.Telemetry.Happenings do
  @moduledoc false
  # The last things that happened to workers, pools, stores and pipes, for whoever looks in later: a
  # ring in ETS. `Slither.Telemetry.Events` writes it, in the process to which it happened, and
  # `Slither.Watch` reads it.

  @table __MODULE__
  @most 200

  @type kind :: :death | :recycle | :start | :stop | :restart | :reload | :resize
  @type happening :: %{
          required(:id) => pos_integer,
          required(:at) => integer,
          required(:kind) => kind,
          optional(atom) => term
        }

  @doc "Makes the table; the application calls it before anything can happen."
  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public, write_concurrency: true])
    true = :ets.insert(@table, {:last, 0})
    :ok
  end

  @doc "Something happened, now."
  @spec note(kind, map) :: :ok
  def note(kind, facts) do
    id = :ets.update_counter(@table, :last, 1)
    at = System.system_time(:millisecond)
    :ets.insert(@table, {rem(id, @most), Map.merge(facts, %{id: id, at: at, kind: kind})})
    :ok
  rescue
    # The application has ended, and its tables with it.
    ArgumentError -> :ok
  end

  # Why a worker was told to leave; for any other reason it died.
  @kinds %{
    max_requests: :recycle,
    max_calls: :recycle,
    max_rss: :recycle,
    max_age: :recycle,
    restart: :restart,
    resize: :resize,
    idle: :resize,
    shutdown: :stop,
    cancelled: :stop,
    worker_stopped: :stop
  }

  @doc """
  A worker ended, for the reason that its event has.

      iex> Enum.map([:max_age, :restart, :shutdown, :worker_died], &Slither.Telemetry.Happenings.ended/1)
      [:recycle, :restart, :stop, :death]
  """
  @spec ended(atom) :: kind
  def ended(reason), do: Map.get(@kinds, reason, :death)

  @doc "The last that happened, newest first."
  @spec all() :: [happening]
  def all do
    happened = for {slot, happening} <- :ets.tab2list(@table), is_integer(slot), do: happening
    Enum.sort_by(happened, & &1.id, :desc)
  rescue
    ArgumentError -> []
  end
end
