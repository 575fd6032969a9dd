defmodule Slither.Watch.Verdict do
  @moduledoc false
  # What goes on, in one sentence: an ordered list of rules over a snapshot, of which the first that
  # finds something decides, and all that find something are evidence. Pure; called by
  # `Slither.Watch.Server`.
  #
  # Rules look at what holds now, or did within the last seconds, so that the sentence is right within
  # five seconds of a change and says nothing of what is long over. Workers that start, a call that is
  # long as its kind is, and one item that failed among many are no alarm.

  alias Slither.Watch.Words

  # ms for which all workers of a pool have been at one call each while others wait, before that is
  # told. Calls that are known to be long get three times what most of them take.
  @stuck 4_000
  @usual 3
  # ms after which a call is told of while others flow, if it is not as long as its kind is.
  @long 30_000
  # ms for which nothing has come out of a pipe that has something to give.
  @blocked 3_000
  # The share of a stage's items that is an alarm, and for how long, in ms.
  @share 0.01
  @recent 30_000
  # So many ends of workers within so many ms.
  @deaths 3
  @minute 60_000

  @type finding :: %{
          required(:rule) => String.t(),
          required(:text) => String.t(),
          optional(:pool) => String.t(),
          optional(:pipe) => String.t(),
          optional(:stage) => String.t(),
          optional(:since) => number
        }
  @type t :: %{state: String.t(), text: String.t(), exit: 0..2, evidence: [finding]}

  @rules [
    {"failing", 2, [:cant_start, :dying, :failing]},
    {"waiting", 1, [:stuck, :full, :blocked, :no_pool]},
    {"flowing", 0, [:flowing]},
    {"working", 0, [:starting, :working]},
    {"idle", 0, [:idle]}
  ]

  @doc "The rules by name, in their order."
  @spec rules() :: [atom]
  def rules, do: for({_state, _exit, rules} <- @rules, rule <- rules, do: rule)

  @doc "The verdict on a snapshot, which has no verdict yet."
  @spec of(map) :: t
  def of(snapshot) do
    found =
      for {state, exit, rules} <- @rules,
          rule <- rules,
          finding <- snapshot |> find(rule) |> List.wrap(),
          do: {state, exit, Map.put(finding, :rule, Atom.to_string(rule))}

    [{state, exit, first} | _] = found

    # What the sentence is about comes first; that nothing is wrong is no evidence of a wrong.
    evidence =
      for {other, _exit, finding} <- found,
          state == other or other in ["failing", "waiting"],
          do: finding

    %{state: state, text: head(state) <> first.text, exit: exit, evidence: evidence}
  end

  defp head("idle"), do: ""
  defp head(state), do: String.capitalize(state) <> ": "

  ## Failing

  defp find(snapshot, :cant_start) do
    for %{error: error, ready: 0} = pool when error != nil <- snapshot.pools do
      waiting = if pool.queue > 0, do: "; #{wait(pool.queue)}", else: ""
      text = "pool #{pool.name} can't start its workers: #{Words.line(error)}#{waiting}"
      %{text: text, pool: pool.name, since: pool.oldest_wait}
    end
  end

  defp find(snapshot, :dying) do
    # Where none can start, that is told.
    none = for %{error: error, ready: 0} = pool when error != nil <- snapshot.pools, do: pool.name

    snapshot.events
    |> Enum.filter(&(&1.kind == "death" and snapshot.at - &1.at <= @minute))
    |> Enum.reject(&(&1.reason == "start_failed" and &1.pool in none))
    |> Enum.group_by(& &1.pool)
    |> Enum.filter(fn {_pool, deaths} ->
      length(deaths) >= @deaths and snapshot.at - newest(deaths) <= @recent
    end)
    |> Enum.sort_by(fn {_pool, deaths} -> -length(deaths) end)
    |> Enum.map(fn {pool, deaths} ->
      since = snapshot.at - newest(deaths)
      why = deaths |> Enum.frequencies_by(& &1.reason) |> Enum.max_by(&elem(&1, 1)) |> elem(0)
      count = length(deaths)

      text =
        "#{count} workers of pool #{pool} ended within a minute (#{why}), " <>
          "the last #{Words.ago(since)}"

      %{text: text, pool: pool, since: since}
    end)
  end

  defp find(snapshot, :failing) do
    failing =
      for {pipe, stage} <- stages(snapshot),
          share = stage[:failed_share] || 0,
          share >= @share,
          last = stage[:last_failed],
          last != nil and last <= @recent,
          do: {share, pipe, stage, last}

    for {share, pipe, stage, last} <- Enum.sort_by(failing, &elem(&1, 0), :desc) do
      what = snapshot.failures |> Enum.find(&of?(&1, pipe, stage)) |> kind()

      text = "#{Words.share(share)} of #{place(pipe, stage)}#{what}, last #{Words.ago(last)}"

      put(%{text: text, stage: stage.name, since: last}, :pipe, pipe)
    end
  end

  ## Waiting

  defp find(snapshot, :stuck) do
    stuck =
      for pool <- snapshot.pools,
          serving = Enum.filter(pool.workers, &(&1.status == "ready")),
          serving != [],
          waits?(pool, serving),
          Enum.all?(serving, &at_one_call?(&1, snapshot)),
          do: {pool, serving}

    stuck = Enum.sort_by(stuck, fn {pool, _serving} -> -(pool.oldest_wait || 0) end)

    for {pool, serving} <- stuck do
      {call, since, count} = most(serving)
      free = pool.since_free || since

      text =
        "pool #{pool.name} has had no free worker for #{Words.time(free)}; " <>
          "#{count} of #{length(serving)} #{if count == 1, do: "runs", else: "run"} #{call} " <>
          "since #{Words.time(since)}"

      %{text: text, pool: pool.name, since: pool.oldest_wait || since}
    end
  end

  defp find(snapshot, :full) do
    for %{max_queue: most, queue: queue} = pool when is_integer(most) and queue >= most <-
          snapshot.pools do
      oldest = if pool.oldest_wait, do: ", the oldest for #{Words.time(pool.oldest_wait)}"
      text = "pool #{pool.name} is full: #{wait(queue)}#{oldest}"
      %{text: text, pool: pool.name, since: pool.oldest_wait}
    end
  end

  defp find(snapshot, :blocked) do
    for %{held: held} = pipe when held != nil and held >= @blocked <- snapshot.pipes do
      pushes =
        case pipe.blocked do
          0 -> ""
          1 -> "; 1 caller waits to push"
          many -> "; #{many} callers wait to push"
        end

      text =
        "pipe #{pipe.name} is held up by its sink: #{Words.count(pipe.delivering, "item")} to be " <>
          "taken, none taken for #{Words.time(held)}#{pushes}"

      %{text: text, pipe: pipe.name, since: held}
    end
  end

  defp find(snapshot, :no_pool) do
    for %{state: "waiting_for_pool"} = pipe <- snapshot.pipes do
      why = if pipe[:error], do: ": #{Words.line(pipe.error)}", else: ""
      %{text: "pipe #{pipe.name} can't begin#{why}", pipe: pipe.name}
    end
  end

  ## All is well

  defp find(%{totals: %{rate: rate} = totals} = snapshot, :flowing) when rate > 0 do
    wait = if totals.oldest_wait, do: ", oldest waits #{Words.time(totals.oldest_wait)}", else: ""
    %{text: "#{Words.rate(rate)}#{wait}#{long(snapshot)}"}
  end

  defp find(_snapshot, :flowing), do: []

  defp find(snapshot, :starting) do
    for %{ready: 0, queue: queue} = pool when queue > 0 <- snapshot.pools,
        Enum.any?(pool.workers, &(&1.status == "starting")) do
      %{text: "pool #{pool.name} starts its workers; #{wait(queue)}", pool: pool.name}
    end
  end

  defp find(snapshot, :working) do
    case for pool <- snapshot.pools, %{runs: %{} = runs} <- pool.workers, do: {pool, runs} do
      [] ->
        inside(snapshot)

      running ->
        {pool, longest} = Enum.max_by(running, fn {_pool, runs} -> runs.since end)
        count = length(running)
        run = if count == 1, do: "1 call runs", else: "#{count} calls run"

        what =
          if count == 1, do: "#{longest.call} since", else: "the longest, #{longest.call}, since"

        text = "#{run}: #{what} #{Words.time(longest.since)}"
        %{text: text, pool: pool.name, since: longest.since}
    end
  end

  defp find(snapshot, :idle) do
    case Enum.sum(for pool <- snapshot.pools, do: pool.ready) do
      0 -> %{text: "Nothing runs"}
      1 -> %{text: "Nothing runs; 1 worker is ready"}
      ready -> %{text: "Nothing runs; #{ready} workers are ready"}
    end
  end

  # Calls that have run for long while others flow: one may hang, whose worker is one less for them.
  defp long(snapshot) do
    long =
      for pool <- snapshot.pools,
          %{runs: %{} = runs} = worker <- pool.workers,
          at_one_call?(worker, snapshot, @long),
          do: runs

    case Enum.sort_by(long, & &1.since, :desc) do
      [] ->
        ""

      [one] ->
        "; #{one.call} runs since #{Words.time(one.since)}"

      [one | _] ->
        "; #{length(long)} calls run for long: #{one.call} since #{Words.time(one.since)}"
    end
  end

  # Work that is in no worker: handlers on BEAM.
  defp inside(snapshot) do
    case for {pipe, stage} <- stages(snapshot), (stage.running || 0) > 0, do: {pipe, stage} do
      [] ->
        open(snapshot)

      [{pipe, stage} | _] = running ->
        items = Enum.sum(for {_pipe, stage} <- running, do: stage.running)
        %{text: "#{Words.count(items, "item")} in #{place(pipe, stage)}", stage: stage.name}
    end
  end

  # Runs of pipes that are not over, in which nothing is on its way. One of a function is no sign: it
  # is open for as long as a program may have more for it.
  defp open(snapshot) do
    case for %{kind: "run", runs: runs} = pipe when runs > 0 <- snapshot.pipes, do: pipe do
      [] ->
        []

      [%{name: name, runs: 1}] ->
        %{text: "the run of pipe #{name} waits for its input, or for who reads its results"}

      [%{name: name} | _] = open ->
        runs = Words.count(Enum.sum(for pipe <- open, do: pipe.runs), "run")

        %{
          text:
            "#{runs}, as of pipe #{name}, wait for their input, or for who reads their results"
        }
    end
  end

  ## What rules ask

  # Whether a call waits: in line for long, or at a worker, behind the one that it is at.
  defp waits?(pool, serving),
    do: (pool.oldest_wait || 0) >= @stuck or Enum.any?(serving, &(&1.calls > 1))

  # Whether a worker has been at one call for longer than such calls take, and than a time. One whose
  # results nobody reads goes on once a call waits for it.
  defp at_one_call?(worker, snapshot, least \\ @stuck)
  defp at_one_call?(%{runs: %{stalled: true}}, _snapshot, _least), do: false

  defp at_one_call?(%{runs: %{since: since} = runs}, snapshot, least),
    do: since >= max(least, @usual * usual(snapshot, runs))

  defp at_one_call?(_idle, _snapshot, _least), do: false

  defp usual(snapshot, runs) do
    place = {runs[:pipe], if(runs[:pipe], do: runs[:stage], else: runs.call)}

    Enum.find_value(stages(snapshot), 0, fn {pipe, stage} ->
      if {pipe, stage.name} == place, do: stage.p95
    end)
  end

  # What most workers run, since when the one of them that has been at it for longest, and how many.
  defp most(workers) do
    {call, runs} =
      workers
      |> Enum.map(& &1.runs)
      |> Enum.group_by(& &1.call)
      |> Enum.max_by(&length(elem(&1, 1)))

    {call, runs |> Enum.map(& &1.since) |> Enum.max(), length(runs)}
  end

  defp stages(snapshot) do
    for(pipe <- snapshot.pipes, stage <- pipe.stages, do: {pipe.name, stage}) ++
      for stage <- snapshot.stages, do: {nil, stage}
  end

  defp place(nil, stage), do: stage.name
  defp place(pipe, stage), do: "stage #{stage.name} of pipe #{pipe}"

  defp of?(failure, pipe, stage), do: failure.pipe == pipe and failure.stage == stage.name

  defp wait(1), do: "1 call waits"
  defp wait(calls), do: "#{Words.number(calls)} calls wait"

  defp kind(nil), do: ""
  defp kind(failure), do: ", #{failure.exception || failure.reason}"

  defp newest(events), do: events |> Enum.map(& &1.at) |> Enum.max()

  defp put(map, _key, nil), do: map
  defp put(map, key, value), do: Map.put(map, key, value)
end
