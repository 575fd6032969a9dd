defmodule Slither.Metrics.Handlers do
  @moduledoc false
  # What handlers count of their own, with `slither.metrics`. Their names and labels are theirs, so they
  # stand in a table beside the definitions of Slither's own metrics. The owner of a worker adds what
  # its Python process tells, before it passes on the answer that came behind; whoever shows metrics reads.
  #
  # Counters and histograms are summed up over all workers of a pool, those that have ended too, so
  # they never go back. Gauges are of one worker and go with it. A sum has two columns, as a table adds
  # whole numbers at once, and other numbers only by comparing and swapping.

  alias Slither.Metrics.Series

  @table __MODULE__

  # Series that a pool may have: a handler that puts an id into a label would fill the memory.
  @most 1_000

  @typedoc "As `Slither.Metrics.Series` has it, with any number as a value, and labels that are texts."
  @type sample :: %{
          required(:name) => String.t(),
          required(:type) => :counter | :gauge | :histogram,
          required(:help) => String.t(),
          required(:labels) => [{String.t(), String.t()}],
          optional(:value) => number | :nan | :infinity | :neg_infinity,
          optional(:buckets) => [{bound :: number, count :: non_neg_integer}],
          optional(:sum) => number,
          optional(:count) => non_neg_integer
        }

  @doc "Makes the table; the process that does so owns it."
  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public, :ordered_set, write_concurrency: true])
    :ok
  end

  @doc "How many series a pool may have."
  @spec most() :: pos_integer
  def most, do: @most

  @doc "Adds what a worker tells, in the process of its owner. What can't be taken is counted."
  @spec take(term, non_neg_integer, [list]) :: :ok
  def take(pool, worker, rows) do
    [{_label, pool}] = Series.texts(%{labels: [:pool]}, {pool})
    Enum.each(rows, &row(&1, pool, worker))
  end

  @doc "The worker of this process has ended: its gauges go."
  @spec forget() :: :ok
  def forget, do: forget_of(self())

  @doc "All series, those of one metric together."
  @spec read() :: [sample]
  def read do
    drop_orphans()
    rows = :ets.tab2list(@table)

    definitions =
      for {{:definition, name}, kind, help, bounds} <- rows, do: {name, kind, help, bounds}

    sums = for {{:sum, key}, whole, part} <- rows, into: %{}, do: {key, number(whole, part)}
    series = Enum.group_by(rows, &name/1)

    for {name, kind, help, bounds} <- definitions,
        row <- Map.get(series, name, []),
        do: series(row, kind, help, bounds, sums)
  end

  defp name({{_kind, name, _pool, _labels, _values}, _, _}), do: name
  defp name({{:gauge, name, _pool, _labels, _values, _worker}, _, _}), do: name
  defp name(row) when elem(elem(row, 0), 0) == :histogram, do: elem(elem(row, 0), 1)
  defp name(_other), do: nil

  defp series({{:counter, name, pool, labels, values}, whole, part}, kind, help, _bounds, _sums),
    do: shown(name, kind, help, labels(pool, labels, values), %{value: number(whole, part)})

  defp series(
         {{:gauge, name, pool, labels, values, worker}, value, _},
         kind,
         help,
         _bounds,
         _sums
       ) do
    labels = [{"pool", pool}, {"worker", "#{worker}"} | Enum.zip(labels, values)]
    shown(name, kind, help, labels, %{value: value})
  end

  defp series(row, kind, help, bounds, sums) do
    [{:histogram, name, pool, labels, values} = key | counts] = Tuple.to_list(row)
    {below, count} = Enum.map_reduce(counts, 0, &{&1 + &2, &1 + &2})
    facts = %{buckets: Enum.zip(bounds, below), count: count, sum: Map.get(sums, key, 0)}
    shown(name, kind, help, labels(pool, labels, values), facts)
  end

  defp number(whole, part), do: if(part == 0.0, do: whole, else: whole + part)

  defp labels(pool, labels, values), do: [{"pool", pool} | Enum.zip(labels, values)]

  defp shown(name, type, help, labels, facts),
    do: Map.merge(%{name: name, type: type, help: help, labels: labels}, facts)

  ## What a worker tells

  defp row(["refused", _name, _help, _labels, _bounds, series], pool, _worker),
    do: for([_values, count] <- series, do: refuse(pool, :series, ceil(count)))

  defp row([kind, name, help, labels, bounds, series], pool, worker) do
    kind = kind(kind)

    case define(name, kind, help, bounds, pool) do
      :ok ->
        for [values, value] <- series, do: add(kind, {name, pool, labels, values}, value, worker)

      why ->
        refuse(pool, why, length(series))
    end
  end

  defp kind("counter"), do: :counter
  defp kind("gauge"), do: :gauge
  defp kind("histogram"), do: :histogram

  # The first worker that tells of a name says what it is: in what is shown, it has one type.
  defp define("slither_" <> _name, _kind, _help, _bounds, _pool), do: :type

  defp define(name, kind, help, bounds, pool) do
    case :ets.lookup(@table, {:definition, name}) do
      [{_key, ^kind, _help, ^bounds}] ->
        :ok

      [_another] ->
        :type

      [] ->
        # Names are not to fill the memory either.
        if room(pool, 0) < @most do
          :ets.insert_new(@table, {{:definition, name}, kind, help, bounds})
          define(name, kind, help, bounds, pool)
        else
          :series
        end
    end
  end

  defp add(:counter, {name, pool, labels, values}, value, _worker) do
    key = {:counter, name, pool, labels, values}
    if admitted?(key, pool, {key, 0, 0.0}), do: sum(key, value), else: refuse(pool, :series, 1)
  end

  defp add(:gauge, {name, pool, labels, values}, value, worker) do
    row = {{:gauge, name, pool, labels, values, worker}, value, self()}

    if admitted?(elem(row, 0), pool, row),
      do: :ets.insert(@table, row),
      else: refuse(pool, :series, 1)
  end

  defp add(:histogram, {name, pool, labels, values}, [counts, sum], _worker) do
    key = {:histogram, name, pool, labels, values}
    row = List.to_tuple([key | List.duplicate(0, length(counts))])

    if admitted?(key, pool, row) do
      added = for {count, place} <- Enum.with_index(counts, 2), count > 0, do: {place, count}
      :ets.update_counter(@table, key, added)
      :ets.insert_new(@table, {{:sum, key}, 0, 0.0})
      sum({:sum, key}, sum)
    else
      refuse(pool, :series, 1)
    end
  end

  defp admitted?(key, pool, row) do
    cond do
      :ets.member(@table, key) ->
        true

      room(pool, 1) <= @most ->
        # Another worker of the pool may have made it meanwhile.
        if not :ets.insert_new(@table, row), do: room(pool, -1)
        true

      true ->
        room(pool, -1)
        false
    end
  end

  defp room(pool, by),
    do: :ets.update_counter(@table, {:series, pool}, {2, by}, {{:series, pool}, 0})

  defp refuse(pool, reason, count),
    do: Series.add(:handler_metrics_refused_total, {pool, reason}, count)

  defp sum(key, value) when is_integer(value), do: :ets.update_counter(@table, key, {2, value})

  defp sum(key, value) do
    [{_key, whole, part} = found] = :ets.lookup(@table, key)
    swap = [{found, [], [{:const, {key, whole, part + value}}]}]
    if :ets.select_replace(@table, swap) == 0, do: sum(key, value)
  rescue
    # There is no float for it: what was counted stays as it is.
    ArithmeticError -> refuse(pool_of(key), :value, 1)
  end

  defp pool_of({:sum, key}), do: pool_of(key)
  defp pool_of({:counter, _name, pool, _labels, _values}), do: pool
  defp pool_of({:histogram, _name, pool, _labels, _values}), do: pool

  defp forget_of(owner) do
    for {key, _value, ^owner} = row <- :ets.match_object(@table, {gauges(), :_, owner}) do
      # The next worker of that slot may have put its own in its place.
      gone = :ets.select_delete(@table, [{row, [], [true]}])
      room(elem(key, 2), -gone)
    end

    :ok
  end

  defp gauges, do: {:gauge, :_, :_, :_, :_, :_}

  # An owner that was killed itself has forgotten nothing.
  defp drop_orphans do
    gauges = :ets.match_object(@table, {gauges(), :_, :_})
    owners = for {_key, _value, owner} <- gauges, uniq: true, do: owner
    for owner <- owners, not Process.alive?(owner), do: forget_of(owner)
  end
end
