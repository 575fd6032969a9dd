defmodule Slither.Metrics.Runs do
  @moduledoc false
  # The board of runs that are open: which there are, what their stages are, and how many items are
  # where in each. A run writes its own row and reads none: at most ten times a second, when its
  # process is about to wait, so that what is on the board holds while it waits. Drivers of runs call
  # it, each in its own process; whoever shows what flows reads it with `all/0`.
  #
  # A process that is killed leaves its row behind. Whoever reads the board takes it away, and counts
  # what was inside of that run as failed; so does every hundredth run that opens.

  alias Slither.Metrics.Batches

  @table __MODULE__
  # ms between two looks at where the items of a run are.
  @often 100
  # Runs between two looks for those whose process has ended.
  @sweep 100
  # Pipes whose graph is kept.
  @definitions 100

  # What is noted of each stage.
  @slots [:in, :decided, :waiting, :queued, :running, :retrying]
  @size length(@slots)
  @entered 1
  @decided 2

  @enforce_keys [:ref, :counts]
  defstruct [:ref, :counts, at: nil, late?: false]

  @typedoc """
  The row of a run, as its process has it: `at` is when it was last written, in ms, and with `late?`
  more has changed since.
  """
  @type t :: %__MODULE__{
          ref: reference,
          counts: :counters.counters_ref(),
          at: integer | nil,
          late?: boolean
        }
  @typedoc "The place of a stage in a row."
  @type place :: {:counters.counters_ref(), base :: non_neg_integer} | nil
  @typedoc """
  What a run is: `kind` says who drives it, `name` is that of a long-running pipe, and `started` in
  Unix ms. A stage's `bound` is how many items may be queued, with a worker or pausing; nil where that
  is not known. Edges lead from `"in"` or a stage to a stage or an output.
  """
  @type facts :: %{
          kind: :dispatch | :pipe | :stream | :server,
          run: String.t() | nil,
          pipe: term,
          name: term,
          started: integer,
          stages: [%{name: term, type: atom, pool: term, bound: pos_integer | nil}],
          edges: [{from :: term, to :: term}]
        }
  @typedoc "How many of a stage's items wait for a batch, for a worker, are with one, or pause."
  @type inside :: %{
          optional(:waiting) => non_neg_integer,
          optional(:queued) => non_neg_integer,
          optional(:running) => non_neg_integer,
          optional(:retrying) => non_neg_integer,
          optional(atom) => term
        }

  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public, read_concurrency: true, write_concurrency: true])
    :ok
  end

  @doc "What a run of no pipe is, by the metadata of its events: a graph of one stage."
  @spec plain(:dispatch | :stream, map, pos_integer | nil) :: facts
  def plain(kind, %{target: target, run: run, pool: pool}, bound) do
    type = if target, do: :python, else: :beam

    %{
      kind: kind,
      run: run,
      pipe: nil,
      name: nil,
      started: System.system_time(:millisecond),
      stages: [%{name: target || "", type: type, pool: pool, bound: bound}],
      edges: []
    }
  end

  ## The run's own process

  @doc "A row for a run of the calling process."
  @spec open(facts) :: t
  def open(facts) do
    ref = make_ref()
    counts = :counters.new(@size * max(1, length(facts.stages)), [])
    :ets.insert(@table, {ref, self(), facts, counts})
    if facts.pipe != nil, do: define(facts)
    if :ets.update_counter(@table, :opened, 1, {:opened, 0}) |> rem(@sweep) == 0, do: sweep()
    %__MODULE__{ref: ref, counts: counts}
  rescue
    # Without the application nothing is shown.
    ArgumentError -> %__MODULE__{ref: make_ref(), counts: :counters.new(1, [])}
  end

  @doc "The place of the stage that comes as number `index`, from 0."
  @spec place(t, non_neg_integer) :: place
  def place(board, index), do: {board.counts, index * @size}

  @doc "Items came in."
  @spec entered(place, non_neg_integer) :: :ok
  def entered(nil, _count), do: :ok
  def entered({counts, base}, count), do: :counters.add(counts, base + @entered, count)

  @doc "Of items it is decided what becomes of them."
  @spec decided(place, non_neg_integer) :: :ok
  def decided(nil, _count), do: :ok
  def decided({counts, base}, count), do: :counters.add(counts, base + @decided, count)

  @doc "The process is about to wait: notes what is inside of its stages, unless that was just done."
  @spec note(t, (() -> [inside])) :: t
  def note(board, inside) do
    now = System.monotonic_time(:millisecond)

    if board.at == nil or now - board.at >= @often do
      for {stage, index} <- Enum.with_index(inside.()), do: write(board.counts, index, stage)
      %{board | at: now, late?: false}
    else
      %{board | late?: true}
    end
  end

  defp write(counts, index, stage) do
    for {slot, at} <- Enum.with_index(@slots, 1),
        at > @decided,
        do: :counters.put(counts, index * @size + at, Map.get(stage, slot, 0))
  end

  @doc "ms after which a process that waits is to note again what is inside, as it has changed."
  @spec due(t | nil) :: timeout
  def due(%__MODULE__{late?: true, at: at}),
    do: max(0, at + @often - System.monotonic_time(:millisecond))

  def due(_noted), do: :infinity

  @doc "The run is over."
  @spec close(t) :: :ok
  def close(board) do
    :ets.delete(@table, board.ref)
    :ok
  rescue
    ArgumentError -> :ok
  end

  defp define(%{pipe: pipe, stages: stages, edges: edges}) do
    definition = %{stages: stages, edges: edges}

    case :ets.lookup(@table, {:pipe, pipe}) do
      [{_key, _at, ^definition}] ->
        :ok

      _new_or_other ->
        :ets.insert(@table, {{:pipe, pipe}, System.monotonic_time(), definition})
        forget_oldest(pipes())
    end
  end

  defp forget_oldest(pipes) when length(pipes) <= @definitions, do: :ok

  defp forget_oldest(pipes) do
    {name, _at, _definition} = Enum.min_by(pipes, &elem(&1, 1))
    :ets.delete(@table, {:pipe, name})
  end

  defp pipes,
    do: :ets.select(@table, [{{{:pipe, :"$1"}, :"$2", :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])

  ## Whoever reads it

  @doc "The runs that are open, with what is inside of each stage."
  @spec all() :: [%{ref: reference, pid: pid, facts: facts, inside: [map]}]
  def all do
    sweep()

    for {ref, pid, facts, counts} <- rows() do
      inside =
        for {_stage, index} <- Enum.with_index(facts.stages),
            do: Map.new(Enum.with_index(@slots, 1), &slot(&1, counts, index))

      %{ref: ref, pid: pid, facts: facts, inside: inside}
    end
  end

  defp slot({slot, at}, counts, index), do: {slot, :counters.get(counts, index * @size + at)}

  @doc "The stages and edges of the pipes that ran last, by their names."
  @spec definitions() :: %{optional(term) => %{stages: [map], edges: [{term, term}]}}
  def definitions, do: Map.new(pipes(), fn {name, _at, definition} -> {name, definition} end)

  defp rows, do: :ets.match_object(@table, {:_, :_, :_, :_})

  @doc "Takes away the rows of processes that were killed; what was inside has failed."
  @spec sweep() :: :ok
  def sweep do
    for {ref, pid, _facts, _counts} <- rows(),
        not Process.alive?(pid),
        # Only one of those who look has it.
        [{_ref, _pid, facts, counts}] <- [:ets.take(@table, ref)],
        {stage, index} <- Enum.with_index(facts.stages) do
      of = %{pipe: facts.pipe, stage: stage.name}
      left = :counters.get(counts, index * @size + @entered) - decided_of(counts, index)
      Batches.items(Batches.place(of), failed: left)
    end

    :ok
  end

  defp decided_of(counts, index), do: :counters.get(counts, index * @size + @decided)
end
