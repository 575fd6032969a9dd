defmodule Slither.Metrics.Series do
  @moduledoc false
  # The values of metrics, by the values of their labels. No process stands in the way of who counts:
  # a series is an array of counters that anybody adds to, and a table says where each is. The table
  # belongs to the process that starts the application. Called by `Slither.Telemetry.Events` for all
  # that counts, and by whoever reads metrics.
  #
  # A metric has at most 1,000 series, unless `config :slither, max_series:` says otherwise; one with
  # slots, or a histogram, counts once. What would be one more is refused, and counted as that.

  alias Slither.Metrics.Definitions
  alias Slither.Quantiles

  @table __MODULE__
  @most 1_000

  @definitions Map.new(Definitions.all(), &{&1.metric, &1})
  @native System.convert_time_unit(1, :second, :native)
  @bounds for bound <- Definitions.buckets(), do: round(bound * @native)
  # The places of a histogram: its buckets, the one that takes all, and the sum.
  @sum length(@bounds) + 2
  # Letters of a label's value.
  @longest 120
  # The classes of a sketch: up to 2^50 native units, some 13 days.
  @fine 400

  @typedoc "The values of a metric's labels in their order: names, of whatever kind they are."
  @type labels :: tuple
  @typedoc "Where a series is kept: whoever counts often keeps it, too."
  @type place :: :counters.counters_ref() | nil
  @type sample :: %{
          required(:name) => String.t(),
          required(:type) => :counter | :gauge | :histogram,
          required(:help) => String.t(),
          required(:labels) => [{atom, String.t()}],
          optional(:value) => number,
          optional(:buckets) => [{bound :: float, count :: non_neg_integer}],
          optional(:sum) => number,
          optional(:count) => non_neg_integer
        }

  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public, read_concurrency: true])
    :ok
  end

  ## Counting

  @doc "Adds to a counter; native units to one of time."
  @spec add(atom, labels, integer) :: :ok
  def add(metric, labels, count) do
    case slots(metric) do
      nil ->
        bump(place(metric, labels), 1, count)

      slots ->
        last = tuple_size(labels) - 1
        slot = Enum.find_index(slots, &(&1 == elem(labels, last)))
        bump(place(metric, Tuple.delete_at(labels, last)), slot + 1, count)
    end
  end

  @doc "Sets a gauge."
  @spec put(atom, labels, integer) :: :ok
  def put(metric, labels, value) do
    case place(metric, labels) do
      nil -> :ok
      place -> :counters.put(place, 1, value)
    end
  end

  @doc "Counts a time, in native units, in a histogram or a sketch."
  @spec observe(atom, labels, integer) :: :ok
  def observe(metric, labels, time) do
    place = place(metric, labels)

    if sketch?(metric), do: sketched(place, time), else: observed(place, time)
  end

  @doc "As `observe/3`, in the place of a histogram."
  @spec observed(place, integer) :: :ok
  def observed(nil, _time), do: :ok

  def observed(place, time) do
    :counters.add(place, bucket(time, @bounds, 1), 1)
    :counters.add(place, @sum, max(time, 0))
  end

  defp bucket(time, [bound | bounds], at) when time > bound, do: bucket(time, bounds, at + 1)
  defp bucket(_time, _bounds, at), do: at

  @doc "As `observe/3`, in the place of a sketch."
  @spec sketched(place, integer) :: :ok
  def sketched(place, time), do: classed(place, Quantiles.index(time))

  @doc "The same of a time whose class is known."
  @spec classed(place, Quantiles.index()) :: :ok
  def classed(nil, _index), do: :ok
  def classed(place, index), do: :counters.add(place, min(index + 1, @fine), 1)

  @doc "Adds to a slot of a place, from 1 on."
  @spec bump(place, pos_integer, integer) :: :ok
  def bump(nil, _slot, _count), do: :ok
  def bump(place, slot, count), do: :counters.add(place, slot, count)

  ## Places

  @doc """
  The place of a series, which is made where it is new; nil where it is refused. Where the metric has
  slots, `labels` are all but the last.
  """
  @spec place(atom, labels) :: place
  def place(metric, labels) do
    case :ets.lookup(@table, {metric, labels}) do
      [{_key, place}] -> place
      [] -> make(metric, labels)
    end
  rescue
    # Without the application, as in a task of Mix, nothing is counted.
    ArgumentError -> nil
  end

  @doc "The places of several metrics that have the same labels, by one look."
  @spec places([atom], labels) :: [place]
  def places(metrics, labels) do
    case :ets.lookup(@table, {metrics, labels}) do
      [{_key, places}] -> places
      [] -> gather(metrics, labels)
    end
  rescue
    ArgumentError -> Enum.map(metrics, fn _metric -> nil end)
  end

  defp gather(metrics, labels) do
    places = Enum.map(metrics, &place(&1, labels))
    if nil not in places, do: :ets.insert(@table, {{metrics, labels}, places})
    places
  end

  defp make(metric, labels) do
    if :ets.update_counter(@table, metric, {2, 1}, {metric, 0}) <= most() do
      place = :counters.new(size(definition(metric)), [])

      if :ets.insert_new(@table, {{metric, labels}, place}) do
        place
      else
        # Another process has just made it.
        :ets.update_counter(@table, metric, {2, -1})
        place(metric, labels)
      end
    else
      :ets.update_counter(@table, metric, {2, -1})
      if metric != :metrics_refused_total, do: add(:metrics_refused_total, {metric}, 1)
      nil
    end
  end

  # Asked where a series is made, which is rare.
  defp most, do: Application.get_env(:slither, :max_series, @most)

  defp definition(metric), do: Map.fetch!(@definitions, metric)

  # Clauses, as these are asked each time that something is counted.
  for %{metric: metric, slots: [_ | _] = slots} <- Definitions.all(),
      do: defp(slots(unquote(metric)), do: unquote(slots))

  defp slots(_metric), do: nil

  for %{metric: metric, type: :sketch} <- Definitions.all(),
      do: defp(sketch?(unquote(metric)), do: true)

  defp sketch?(_metric), do: false

  defp size(%{type: :histogram}), do: @sum
  defp size(%{type: :sketch}), do: @fine
  defp size(%{slots: nil}), do: 1
  defp size(%{slots: slots}), do: length(slots)

  @doc "Takes a series away: of something that is no more, and will not come again."
  @spec forget(atom, labels) :: :ok
  def forget(metric, labels) do
    if :ets.take(@table, {metric, labels}) != [], do: :ets.update_counter(@table, metric, {2, -1})
    :ok
  end

  ## Reading

  @doc "The value of a counter or a gauge, as it was added or put; 0 where it has none."
  @spec get(atom, labels) :: integer
  def get(metric, labels) do
    case slots(metric) do
      nil ->
        value(metric, labels, 1)

      slots ->
        last = tuple_size(labels) - 1
        slot = Enum.find_index(slots, &(&1 == elem(labels, last)))
        value(metric, Tuple.delete_at(labels, last), slot + 1)
    end
  end

  defp value(metric, labels, slot) do
    case :ets.lookup(@table, {metric, labels}) do
      [{_key, place}] -> :counters.get(place, slot)
      [] -> 0
    end
  end

  @doc "What a sketch has counted."
  @spec quantiles(atom, labels) :: Quantiles.t()
  def quantiles(metric, labels) do
    case :ets.lookup(@table, {metric, labels}) do
      [{_key, place}] ->
        for at <- 1..@fine,
            count = :counters.get(place, at),
            count > 0,
            into: %{},
            do: {at - 1, count}

      [] ->
        %{}
    end
  end

  @doc "The series of one metric: the values of their labels, and the places."
  @spec of(atom) :: [{labels, place}]
  def of(metric),
    do: :ets.select(@table, [{{{metric, :"$1"}, :"$2"}, [], [{{:"$1", :"$2"}}]}])

  @doc "All series that are kept, in the order of the definitions; see `sample/3`."
  @spec read() :: [sample]
  def read do
    for %{type: type, scraped?: false} = definition when type != :sketch <- Definitions.all(),
        sample <- definition.metric |> of() |> samples(definition),
        do: sample
  end

  # Names that read the same, such as an atom and a text, are one series to whoever reads them.
  defp samples(series, definition) do
    series
    |> Enum.flat_map(fn {labels, place} -> values(labels, place, definition) end)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Enum.sort()
    |> Enum.map(fn {labels, values} ->
      definition |> sample(labels) |> Map.merge(said(values, definition))
    end)
  end

  defp values(labels, place, %{type: :histogram} = definition),
    do: [{texts(definition, labels), for(at <- 1..@sum, do: :counters.get(place, at))}]

  defp values(labels, place, %{slots: nil} = definition),
    do: [{texts(definition, labels), :counters.get(place, 1)}]

  defp values(labels, place, %{slots: slots} = definition) do
    for {slot, at} <- Enum.with_index(slots, 1),
        do:
          {texts(definition, Tuple.insert_at(labels, tuple_size(labels), slot)),
           :counters.get(place, at)}
  end

  defp said(values, %{type: :histogram} = definition) do
    {counts, [sum]} = values |> Enum.zip_with(&Enum.sum/1) |> Enum.split(@sum - 1)
    {below, count} = Enum.map_reduce(counts, 0, &{&1 + &2, &1 + &2})
    buckets = Enum.zip(Definitions.buckets(), below)
    %{buckets: buckets, count: count, sum: written(sum, definition)}
  end

  defp said(values, %{type: :gauge} = definition),
    do: %{value: values |> Enum.max() |> written(definition)}

  defp said(values, definition), do: %{value: values |> Enum.sum() |> written(definition)}

  defp written(value, %{unit: :one}), do: value
  defp written(value, %{unit: :native}), do: value / @native
  defp written(value, %{unit: :ms}), do: value / 1_000

  @doc "A sample without its value, of a metric and the values of its labels, which are texts."
  @spec sample(Definitions.t(), [{atom, String.t()}]) :: sample
  def sample(%{metric: metric, type: type, help: help}, labels),
    do: %{name: "slither_#{metric}", type: type, help: help, labels: labels}

  @doc "The labels of a metric with their values as texts, which are short and valid."
  @spec texts(%{:labels => [atom], optional(atom) => term}, labels) :: [{atom, String.t()}]
  def texts(%{labels: names}, values),
    do: Enum.zip_with(names, Tuple.to_list(values), &{&1, text(&2)})

  defp text(nil), do: ""
  defp text(name) when is_atom(name), do: name |> Atom.to_string() |> short()

  defp text(name) when is_binary(name),
    do: if(String.valid?(name), do: short(name), else: text({:invalid, name}))

  defp text(name) when is_number(name), do: to_string(name)
  defp text(name), do: name |> inspect(limit: 5, printable_limit: @longest) |> short()

  defp short("Elixir." <> name), do: short(name)
  defp short(name), do: String.slice(name, 0, @longest)
end
