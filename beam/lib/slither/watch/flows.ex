defmodule Slither.Watch.Flows do
  @moduledoc false
  # The pipes of a snapshot with their stages, and what runs beside pipes: made of the board of runs,
  # of the counters, and of what long-running pipes say of themselves. Called by
  # `Slither.Watch.Server`, in its process.

  alias Slither.Metrics.Runs
  alias Slither.Pipe
  alias Slither.Pipe.{Counts, Names}
  alias Slither.Receipt.Bottleneck
  alias Slither.Watch.{Asked, Counters, Samples, Words}

  # ms for which rates are, and for which failed items are an alarm.
  @rate 5_000
  @failed 30_000
  # ms for which long-running pipes are waited for: each is busy while its handlers on BEAM run.
  @patience 500
  @nowhere %{waiting: 0, queued: 0, running: 0, retrying: 0}

  @doc "Pipes, and the stages that are of none: those that run, or did within five minutes."
  @spec all(map) :: {pipes :: [map], stages :: [map]}
  def all(seen) do
    more = %{handlers: Counters.handlers(), outputs: Counters.last_outputs(), graphs: graphs()}
    seen = Map.merge(seen, more)
    {plain, piped} = Enum.split_with(runs(), &(&1.pipe == nil))
    servers = servers()
    {known, others} = seen.counts |> Counters.places() |> Enum.split_with(&(elem(&1, 0) != nil))

    pipes =
      for name <- names(piped, servers, known),
          pipe = pipe(name, seen, pick(piped, name), pick(servers, name), pick(known, name)),
          pipe != nil,
          do: pipe

    {pipes, stages(seen, plain, Enum.map(others, &elem(&1, 1)))}
  end

  defp names(piped, servers, known) do
    names = Enum.map(piped, &Words.name(&1.pipe)) ++ Enum.map(servers, & &1.pipe)
    Enum.uniq(names ++ Enum.map(known, &elem(&1, 0))) |> Enum.sort()
  end

  defp pick(all, name), do: Enum.filter(all, &(pipe_of(&1) == name))

  defp pipe_of({pipe, _stage}), do: pipe
  defp pipe_of(%{pipe: pipe}), do: Words.name(pipe)

  # Runs that are open, each stage with how many items are where in it.
  defp runs do
    for %{facts: facts, inside: inside} <- Runs.all() do
      stages = for {stage, where} <- Enum.zip(facts.stages, inside), do: Map.merge(stage, where)
      %{facts | stages: stages}
    end
  end

  # The pipes that ran last, also where no run of theirs is open.
  defp graphs,
    do: Map.new(Runs.definitions(), fn {pipe, graph} -> {Words.name(pipe), graph} end)

  ## Long-running pipes

  defp servers do
    running = Names.running()
    questions = for {name, _counts} <- running, do: {name, fn -> Pipe.status(name) end}
    said = Asked.all(questions, @patience)

    for {name, counts} <- running do
      status = with {:ok, status} <- said[name], do: status, else: (_none -> %{})
      inside = Counts.inside(counts)

      %{
        pipe: Words.name(counts.pipe),
        # Who does not answer runs a handler of its own.
        state: Words.name(status[:state] || :running),
        error: status[:error] && Exception.message(status.error),
        inside: inside,
        delivering: Counts.get(counts, :delivering),
        blocked: Counts.get(counts, :blocked),
        outputs: counts |> Counts.outputs() |> Map.keys() |> Enum.map(&Words.name/1),
        stages: for(stage <- status[:stages] || [], do: served(stage))
      }
    end
  end

  defp served(%{name: name, type: type, waiting: waiting}) do
    where = Map.take(waiting, [:queued, :running, :retrying])
    Map.merge(%{name: Words.name(name), type: type, waiting: waiting.batching}, where)
  end

  ## Pipes

  defp pipe(name, seen, runs, servers, known) do
    graph = seen.graphs[name]
    stages = drawn(runs, servers, graph || known)
    stages = stages |> Enum.map(&stage(&1, {name, &1.name}, seen)) |> narrowest(name, seen)
    at_work? = runs != [] or servers != []

    if at_work? or Enum.any?(stages, &lately?/1) do
      %{
        name: name,
        runs: max(length(runs), length(servers)),
        kind: if(servers != [], do: "server", else: "run"),
        state: state(runs, servers),
        error: Enum.find_value(servers, & &1.error),
        in_rate: first_rate(stages),
        out_rate: out_rate(name, servers, stages, seen),
        last_output: seen.outputs[name],
        held: held(name, seen),
        blocked: Enum.sum(Enum.map(servers, & &1.blocked)),
        delivering: Enum.sum(Enum.map(servers, & &1.delivering)),
        stages: stages,
        edges: edges(List.first(runs) || graph, servers, stages, name, seen)
      }
    end
  end

  defp state(_runs, [_ | _] = servers) do
    states = Enum.map(servers, & &1.state)
    Enum.find(states, hd(states), &(&1 != "running"))
  end

  defp state([], _servers), do: "ended"
  defp state(_runs, _servers), do: "running"

  # The stages as they are drawn: as an open run has them, or as a server says, or as the last run had
  # them, or as were counted.
  defp drawn([run | _] = runs, _servers, _known) do
    for stage <- run.stages do
      same = for one <- runs, other <- one.stages, other.name == stage.name, do: other
      drawn(%{stage | name: Words.name(stage.name)}, same)
    end
  end

  defp drawn([], [%{stages: [_ | _] = stages} | _], _known), do: stages

  defp drawn([], _servers, %{stages: stages}),
    do: for(stage <- stages, do: drawn(%{stage | name: Words.name(stage.name)}, []))

  defp drawn([], _servers, known), do: for({_pipe, stage} <- known, do: %{name: stage})

  # A stage with what is inside of it in all runs that have it.
  defp drawn(stage, same) do
    where =
      for {place, none} <- @nowhere, do: {place, Enum.sum(Enum.map(same, &(&1[place] || none)))}

    stage |> Map.take([:name, :type, :pool, :bound]) |> Map.merge(Map.new(where))
  end

  ## Stages

  defp stages(seen, plain, counted) do
    inside =
      for {name, [stage | _] = same} <-
            plain |> Enum.flat_map(& &1.stages) |> Enum.group_by(&Words.name(&1.name)),
          into: %{},
          do: {name, drawn(stage, same)}

    for name <- Enum.sort(Enum.uniq(Map.keys(inside) ++ counted)),
        name not in [nil, ""],
        stage = inside |> Map.get(name, %{}) |> Map.put(:name, name) |> stage({nil, name}, seen),
        is_map_key(inside, name) or lately?(stage),
        do: stage
  end

  defp stage(drawn, place, seen) do
    %{samples: samples, counts: counts, now: now} = seen
    times = Counters.times(samples, now, counts, place)
    handlers = Map.get(seen.handlers, place, %{p50: nil, p95: nil})
    count = &Map.get(counts, {place, &1}, 0)
    {failed, items} = Counters.failed(samples, now, counts, place, @failed)

    @nowhere
    |> Map.merge(Map.drop(drawn, [:type, :pool]))
    |> Map.merge(%{
      type: Words.name(drawn[:type] || :python),
      pool: Words.name(drawn[:pool]),
      bound: drawn[:bound],
      rate: Samples.rate(samples, now, counts, {place, :items}, @rate),
      spark: Samples.spark(samples, now, counts, {place, :items}),
      p50: handlers.p50,
      p95: handlers.p95,
      shares: Counters.shares(times, counts, place),
      items: count.(:items),
      failed: count.(:errors),
      skipped: count.(:skipped),
      routed: count.(:routed),
      failed_share: share(failed, items),
      last_failed: seen.last_failed[place],
      narrowest: false
    })
  end

  defp share(0, _items), do: 0
  defp share(failed, items), do: Float.round(failed / items, 5)

  defp lately?(stage), do: Enum.any?(stage.spark, &(&1 > 0))

  # The stage that holds the others up, by where time went lately; where nothing came back, the one
  # that has most to do.
  defp narrowest(stages, name, seen) when length(stages) > 1 do
    measured =
      for stage <- stages do
        times = Counters.times(seen.samples, seen.now, seen.counts, {name, stage.name})
        {stage.name, %{times: times, batches: if(stage.type == "python", do: 1, else: 0)}}
      end

    native = System.convert_time_unit(Counters.lately(), :millisecond, :native)
    left = fn stage -> (stage.queued + stage.running + stage.retrying) * (stage.p50 || 0) end
    fullest = Enum.max_by(stages, left)

    narrow = Bottleneck.narrowest(measured, native) || if(left.(fullest) > 0, do: fullest.name)
    Enum.map(stages, &%{&1 | narrowest: &1.name == narrow})
  end

  defp narrowest(stages, _name, _seen), do: stages

  ## What flows between them

  defp first_rate([stage | _]), do: stage.rate
  defp first_rate([]), do: 0

  defp out_rate(_name, [], stages, _seen),
    do: if(stages == [], do: 0, else: List.last(stages).rate)

  defp out_rate(name, servers, _stages, seen) do
    outputs = servers |> Enum.flat_map(& &1.outputs) |> Enum.uniq()
    Enum.sum(for output <- outputs, do: rate({:output, name, output}, seen))
  end

  defp rate(key, seen), do: Samples.rate(seen.samples, seen.now, seen.counts, key, @rate)
  defp spark(key, seen), do: Samples.spark(seen.samples, seen.now, seen.counts, key)

  # For how long outputs have waited of which no sink has taken one.
  defp held(name, seen) do
    with {_taken, since} when since != nil <- seen.held[name],
         do: seen.now - since,
         else: (_ -> nil)
  end

  defp edges(graph, servers, stages, name, seen) do
    outputs = servers |> Enum.flat_map(& &1.outputs) |> Enum.uniq()

    for {from, to} <- drawn_edges(graph, stages, outputs) do
      stage = Enum.find(stages, &(&1.name == to))
      output = {:output, name, to}
      edge = %{from: from, to: to, output: stage == nil}

      cond do
        stage != nil -> Map.merge(edge, %{rate: stage.rate, spark: stage.spark})
        to in outputs -> Map.merge(edge, %{rate: rate(output, seen), spark: spark(output, seen)})
        true -> Map.merge(edge, %{rate: nil, spark: nil})
      end
    end
  end

  defp drawn_edges(%{edges: [_ | _] = edges}, _stages, _outputs),
    do: for({from, to} <- edges, do: {Words.name(from), Words.name(to)})

  # Where nobody has drawn it, a pipe is a line.
  defp drawn_edges(_none, stages, outputs) do
    names = ["in" | Enum.map(stages, & &1.name)]
    line = Enum.zip(names, tl(names))
    line ++ for output <- outputs, do: {List.last(names), output}
  end
end
