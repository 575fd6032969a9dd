defmodule Slither.Run.Engine do
  @moduledoc false
  # One run of a pipe, as a state machine: it pulls the input as its first Python stage has
  # room, runs BEAM stages in place, gives batches to one `Dispatch.Flow` for each Python
  # stage, and collects what reaches an output. Stages overlap because every flow is fed as
  # soon as the one before it has results and it has room.
  #
  # `step/1` and `message/2` never wait, so that a process with other messages can drive it;
  # `next/1` is the same with a wait. With the input `:fed` nothing is pulled: the driver gives
  # `feed/2` as many items as `want/1` asks for.
  #
  # Entries are `{seq, item}`; a seq is a list, `[n]` for the n-th input and longer for the
  # items a stage made of it, so that seqs order the outputs. What leaves the pipe early, or goes
  # on at a later stage, passes every stage in between by, in its place. So every stage gives
  # entries on in the order in which it got them, and all that reaches the end is in order.

  alias Slither.{DispatchError, Item, PipeError, Receipt}
  alias Slither.Run.{Batcher, Fill, Flow, Mailbox, Plan, Source}
  alias Slither.Pipe.{Definition, Events}
  alias Slither.Run.{Account, Bypass, Inline, Queue, Regroup, Stages, Unfinished}

  # Entries that wait beside a batch that is not full; beyond it the batch goes as it is.
  @most_beside 1_000

  @enforce_keys [:definition, :mailbox, :source, :stages, :count, :tally, :context]
  defstruct [
    :definition,
    :mailbox,
    :source,
    :stages,
    :count,
    :tally,
    :context,
    :halted,
    :started,
    :stage_started,
    :live,
    next: 0,
    passing: false,
    grouped: false,
    emitted: []
  ]

  @type t :: %__MODULE__{}
  @type output :: {Definition.name(), Item.t()}
  @typedoc "Several items of one output; see `grouped/1`."
  @type group :: {:items, Definition.name(), [Item.t()]}
  @typedoc "An output of a run that is tracked: the first of its seq is the input's position."
  @type tracked :: {seq :: [non_neg_integer, ...], Definition.name(), Item.t()}
  @type step ::
          {:outputs, [output | group] | [tracked], t}
          | {:done, t}
          | {:halted, [output | group] | [tracked], Exception.t(), t}

  # A pipe without Python has no batches to fill; so many items are run before it looks up.
  @handful 64

  @doc "A run that is ready to begin."
  @spec new(Definition.t(), Enumerable.t() | :fed, keyword, boolean) ::
          {:ok, t} | {:error, Exception.t()}
  def new(definition, input, options, bounded) do
    mailbox = Mailbox.open()
    context = Stages.context(definition, options)
    # What others have pushed is not lost because a function of the error policy fails.
    options = if input == :fed, do: [{:lenient, true} | options], else: options

    case Stages.build(definition, context, {mailbox, options, bounded}) do
      {:ok, stages} ->
        names = Enum.map(definition.stages, & &1.name)
        now = System.monotonic_time()

        engine = %__MODULE__{
          definition: definition,
          mailbox: mailbox,
          source: Source.new(input),
          stages: List.to_tuple(stages),
          count: length(stages),
          tally: Account.new(names),
          context: context,
          started: now,
          stage_started: %{}
        }

        Events.started(engine)
        {:ok, engine}

      {:error, error} ->
        Mailbox.close(mailbox)
        {:error, error}
    end
  end

  @doc """
  What comes out next, waiting for it if need be: outputs in order, and whether there is more.
  """
  @spec next(t) :: step
  def next(engine) do
    case step(engine) do
      {:wait, engine} -> engine |> await() |> next()
      answer -> answer
    end
  end

  @doc "As `next/1`, with `:wait` where nothing can be done before a message comes."
  @spec step(t) :: step | {:wait, t}
  def step(engine) do
    engine = engine |> pump() |> fill()

    cond do
      engine.emitted != [] and engine.halted == nil ->
        {:outputs, Enum.reverse(engine.emitted), rest(%{engine | emitted: []})}

      engine.halted != nil and drained_after_halt?(engine) ->
        {_seq, _index, error} = engine.halted
        {:halted, Enum.reverse(engine.emitted), error, %{engine | emitted: []}}

      engine.halted == nil and finished?(engine) ->
        {:done, engine}

      true ->
        {:wait, rest(engine)}
    end
  end

  @doc "Waits for a message of the run and takes it in."
  @spec await(t) :: t
  def await(engine) do
    {index, message} = Mailbox.await(engine.mailbox)
    deliver(engine, index, message)
  end

  @doc "Takes in a message, if it is one of the run; `:pool_down` says that a pool has ended."
  @spec message(t, term) :: {:ok, t} | {:pool_down, t} | :unknown
  def message(engine, message) do
    case Mailbox.match(engine.mailbox, message) do
      {index, {:down, monitor, _reason} = message} ->
        pool? = Flow.pool?(elem(engine.stages, index).flow, monitor)
        {if(pool?, do: :pool_down, else: :ok), deliver(engine, index, message)}

      {index, message} ->
        {:ok, deliver(engine, index, message)}

      :unknown ->
        :unknown
    end
  end

  @doc "Has the run give the items of an output that come together as one group."
  @spec grouped(t) :: t
  def grouped(engine), do: %{engine | grouped: true}

  @doc """
  Has the run say which inputs are finished, and leave out those that `done` names; where such an
  input is not what it was, the run halts, unless it is told not to `compare`.
  """
  @spec track(t, Slither.Run.Finished.t(), boolean) :: t
  def track(engine, done, compare), do: %{engine | live: Unfinished.new(done, compare)}

  @doc """
  The inputs that have finished since it was last asked: their positions and digests.

  None is told while a run that halts keeps outputs back: theirs may be among them.
  """
  @spec finished(t) :: {[{non_neg_integer, Slither.Run.Finished.digest()}], t}
  def finished(%__MODULE__{emitted: [_ | _]} = engine), do: {[], engine}

  def finished(engine) do
    {positions, live} = Unfinished.take(engine.live)
    {positions, %{engine | live: live}}
  end

  ## Fed by its driver

  @doc "Whether a run could begin: its pools are there, and its executors can be used."
  @spec check(Definition.t(), keyword) :: :ok | {:error, Exception.t()}
  def check(definition, options) do
    context = Stages.context(definition, options)

    Enum.find_value(definition.stages, :ok, fn stage ->
      with :python <- stage.type, {:error, error} <- Plan.new(stage.options, context, true) do
        {:error, Stages.error(definition, stage, error)}
      else
        _fine -> nil
      end
    end)
  end

  @doc "How many more items it can use now."
  @spec want(t) :: non_neg_integer
  def want(%__MODULE__{source: :fed, halted: nil} = engine) do
    case first_queue(engine) do
      nil -> if engine.emitted == [], do: @handful, else: 0
      queue -> if room?(engine, queue), do: wanted(queue), else: 0
    end
  end

  def want(_engine), do: 0

  @doc "Takes items in."
  @spec feed(t, [term]) :: t
  def feed(%__MODULE__{source: :fed, next: next} = engine, items) do
    count = length(items)
    take_in(%{engine | next: next + count}, Source.number(items, count, next, &[&1]))
  end

  @doc "Says that no more items come: partial batches go as soon as nothing can join them."
  @spec finish(t) :: t
  def finish(%__MODULE__{source: :fed} = engine), do: %{engine | source: :done}
  def finish(engine), do: engine

  @doc "Takes items again, after `finish/1`."
  @spec reopen(t) :: t
  def reopen(%__MODULE__{source: :done} = engine) do
    stages =
      for stage <- Tuple.to_list(engine.stages) do
        if match?(%Queue{flushed: true}, stage),
          do: %{emptied(stage) | flushed: false},
          else: stage
      end

    %{engine | source: :fed, stages: List.to_tuple(stages)}
  end

  def reopen(engine), do: engine

  @doc "Sends off the partial batch of a stage."
  @spec flush_stage(t, non_neg_integer) :: t
  def flush_stage(engine, index) do
    queue = elem(engine.stages, index)
    groups = Batcher.flush(queue.batcher)
    put(engine, index, %{emptied(queue) | groups: queue.groups ++ groups})
  end

  defp emptied(%Queue{} = queue),
    do: %{queue | batcher: queue.fresh, batched: queue.fed}

  @doc "The stages whose batches are partly filled, each with how many items it has ever had."
  @spec partial(t) :: [{index :: non_neg_integer, fed :: pos_integer}]
  def partial(engine) do
    for index <- 0..(engine.count - 1)//1,
        %Queue{fed: fed, batched: batched} <- [elem(engine.stages, index)],
        fed > batched,
        do: {index, fed}
  end

  @doc "What has passed each stage, and what waits where."
  @spec status(t) :: [map]
  def status(engine) do
    for {stage, state} <- Enum.zip(engine.definition.stages, Tuple.to_list(engine.stages)) do
      engine.tally.stages[stage.name]
      |> Map.delete(:failed)
      |> Map.merge(%{name: stage.name, type: stage.type, waiting: waiting(state)})
    end
  end

  defp waiting(%Queue{} = queue) do
    flow = Flow.where(queue.flow)
    queued = Batcher.count(queue.groups)
    batching = queue.fed - queue.batched
    inside = queue.fed - queue.left
    finished = inside - batching - queued - flow.queued - flow.running - flow.retrying
    Map.merge(flow, %{batching: batching, queued: queued + flow.queued, finished: finished})
  end

  defp waiting(_inline), do: %{batching: 0, queued: 0, running: 0, retrying: 0, finished: 0}

  @doc "Ends the run: frees the workers and the input, and closes the account."
  @spec close(t, Exception.t() | nil) :: Receipt.t()
  def close(engine, error) do
    for %Queue{flow: flow} <- Tuple.to_list(engine.stages), do: Flow.close(flow)
    for stage <- Tuple.to_list(engine.stages), do: Stages.shutdown(stage)
    Source.close(engine.source)
    Mailbox.close(engine.mailbox)
    receipt = Events.account(engine, error)
    Events.finished(engine, receipt, error)
    receipt
  end

  ## Moving entries along

  # The input is pulled only for the first Python stage, as far as that one has room.
  defp fill(%__MODULE__{source: source} = engine) when source in [:done, :fed], do: engine
  defp fill(%__MODULE__{halted: halted} = engine) when halted != nil, do: engine

  defp fill(engine) do
    case first_queue(engine) do
      nil ->
        if engine.emitted == [], do: engine |> pull(1) |> pump() |> fill(), else: engine

      queue ->
        if room?(engine, queue) and not full?(engine), do: refill(engine, queue), else: engine
    end
  end

  defp refill(engine, queue), do: engine |> pull(wanted(queue)) |> pump() |> fill()

  defp wanted(queue), do: queue |> sized() |> Map.fetch!(:batcher) |> Batcher.want()

  defp sized(queue),
    do: %{queue | batcher: Batcher.resize(queue.batcher, Flow.batch_size(queue.flow))}

  defp first_queue(engine),
    do: engine.stages |> Tuple.to_list() |> Enum.find(&is_struct(&1, Queue))

  defp room?(engine, %Queue{groups: [], flow: flow}),
    do: Flow.free(flow) > 0 and not Enum.any?(Tuple.to_list(engine.stages), &crowded?/1)

  defp room?(_engine, _queue), do: false

  # If most items leave before the first Python stage, it never fills: then what has come out
  # says when to stop pulling.
  defp full?(engine), do: length(engine.emitted) > @most_beside

  defp crowded?(%Inline{}), do: false
  defp crowded?(stage), do: stage.past.count > @most_beside

  defp pull(%__MODULE__{next: next} = engine, count) do
    {entries, next, source} =
      guard(engine, fn -> Source.entries(engine.source, count, next, &[&1]) end)

    take_in(%{engine | source: source, next: next}, entries)
  end

  defp take_in(engine, entries) do
    {entries, live} = Unfinished.begin(engine.live, entries)
    tally = Account.run(engine.tally, :in, length(entries))
    engine = %{engine | live: live, tally: tally}

    case Unfinished.other(live) do
      nil -> process(engine, 0, entries)
      # Nothing is inside yet: none is taken in before all that is known was seen.
      position -> halt(engine, 0, {[position], other_input(engine, position)})
    end
  end

  defp other_input(engine, position) do
    %PipeError{
      pipe: engine.definition.name,
      reason: :other_input,
      item: position,
      message: "the input is not the one that the checkpoint knows: item #{position} differs"
    }
  end

  # Entries go through BEAM stages at once, until they reach a Python stage or the end.
  defp process(engine, _index, []), do: engine

  # What comes behind an item that has halted the run goes nowhere.
  defp process(%__MODULE__{halted: {limit, _at, _error}} = engine, index, entries),
    do: go_on(engine, index, Enum.filter(entries, &(elem(&1, 0) < limit)))

  defp process(engine, index, entries), do: go_on(engine, index, entries)

  defp go_on(engine, _index, []), do: engine
  defp go_on(%__MODULE__{count: index} = engine, index, entries), do: emit(engine, entries)

  defp go_on(engine, index, entries) do
    stage = elem(engine.stages, index)

    {here, past} =
      if engine.passing, do: Bypass.part(entries, index, fed(stage)), else: {entries, []}

    cond do
      here != [] -> engine |> Events.begun(index) |> handle(index, stage, here, past)
      is_struct(stage, Inline) -> process(engine, index + 1, entries)
      true -> engine |> put(index, wait(stage, past)) |> pass(index, [])
    end
  end

  defp handle(engine, index, %Regroup{} = group, entries, past) do
    engine = %{engine | tally: count(engine, group.name, :in, entries)}
    {made, group} = group |> wait(past) |> Regroup.add(entries)
    engine |> put(index, group) |> regrouped(index, made)
  end

  # Its flow takes nothing any more.
  defp handle(engine, index, %Queue{halted: true} = queue, _entries, past),
    do: engine |> put(index, wait(queue, past)) |> pass(index, [])

  defp handle(engine, index, %Queue{} = queue, entries, past) do
    queue = queue |> wait(past) |> sized()
    engine = %{engine | tally: count(engine, queue.name, :in, entries)}
    {groups, batcher} = guard(engine, fn -> Batcher.add(queue.batcher, entries) end)
    fed = queue.fed + length(entries)
    batched = queue.batched + Batcher.count(groups)
    # After a halt an earlier stage may still give results on, after the last batch of this one:
    # they get one more.
    queue = %{queue | batcher: batcher, fed: fed, batched: batched, flushed: false}
    engine = put(engine, index, %{queue | groups: queue.groups ++ groups})
    if past == [], do: engine, else: pass(engine, index, [])
  end

  defp handle(engine, index, %Inline{} = stage, entries, past) do
    started = System.monotonic_time()
    result = guard(engine, fn -> Inline.run(stage, entries) end)
    time = System.monotonic_time() - started

    tally = engine |> count(stage.name, :in, entries) |> Account.handler(stage.name, time)
    live = Unfinished.pass(engine.live, entries, result)
    engine = result(%{engine | tally: tally, live: live}, index, result)
    process(engine, index + 1, merge(result.on, Enum.map(past, &elem(&1, 1))))
  end

  defp fed(%Inline{}), do: 0
  defp fed(stage), do: stage.fed

  # Counts what a handler's answers made of its items.
  defp result(engine, index, result) do
    name = elem(engine.stages, index).name

    tally =
      engine.tally
      |> Account.both(name, :skipped, result.skipped)
      |> Account.both(name, :expanded, result.expanded)
      |> Account.both(name, :routed, result.routed)
      |> Account.errors(name, result.errors)
      |> Account.run(:out, result.out)
      |> Account.stage(name, :out, length(result.on) - result.routed)

    engine = passing(%{engine | tally: tally}, result.on)
    halt(engine, index, result.halt)
  end

  # From the first entry on that is to pass stages by, each looks for such.
  defp passing(%__MODULE__{passing: true} = engine, _entries), do: engine

  defp passing(engine, entries),
    do: %{engine | passing: Enum.any?(entries, &match?({_seq, {_to_or_exit, _, _}}, &1))}

  defp merge(entries, []), do: entries
  defp merge([], entries), do: entries
  defp merge(one, other), do: :lists.merge(&(elem(&1, 0) <= elem(&2, 0)), one, other)

  ## Entries that pass a stage by

  defp wait(stage, past), do: %{stage | past: Bypass.add(stage.past, past)}

  # Entries go on from a stage, with those that waited for them to pass.
  defp pass(engine, index, entries) do
    stage = elem(engine.stages, index)

    case Bypass.take(stage.past, left(stage)) do
      {[], _past} ->
        process(engine, index + 1, entries)

      {go, past} ->
        engine |> put(index, %{stage | past: past}) |> process(index + 1, merge(entries, go))
    end
  end

  defp left(%Queue{flow: %{plan: %{ordering: :as_completed}}}), do: :all
  defp left(%Queue{left: left}), do: left
  defp left(%Regroup{fed: fed, count: count}), do: fed - count

  # What one made of many is that many fewer.
  defp regrouped(engine, index, made) do
    name = elem(engine.stages, index).name

    tally =
      Enum.reduce(made, engine.tally, fn {_entry, size}, tally ->
        tally |> Account.both(name, :expanded, 1 - size) |> Account.stage(name, :out, 1)
      end)

    pass(%{engine | tally: tally}, index, Enum.map(made, &elem(&1, 0)))
  end

  defp count(engine, name, key, entries),
    do: Account.stage(engine.tally, name, key, length(entries))

  defp put(engine, index, stage), do: %{engine | stages: put_elem(engine.stages, index, stage)}

  ## Python stages: results out, batches in, from the last stage to the first

  defp pump(engine), do: pump(engine, engine.count - 1)

  defp pump(engine, -1), do: engine

  defp pump(engine, index) do
    case elem(engine.stages, index) do
      %Queue{} ->
        {taken?, engine} = drain(engine, index)
        engine = engine |> submit(index) |> flush_batcher(index)
        # What was taken may have been the last that a later stage waited for.
        if taken?, do: pump(engine), else: pump(engine, index - 1)

      %Regroup{count: count} = group when count > 0 ->
        if nothing_before?(engine, index) or crowded?(group) do
          {made, group} = Regroup.flush(group)
          engine |> put(index, group) |> regrouped(index, made) |> pump()
        else
          pump(engine, index - 1)
        end

      _inline ->
        pump(engine, index - 1)
    end
  end

  defp downstream_room?(engine, index) do
    (index + 1)..(engine.count - 1)//1
    |> Enum.map(&elem(engine.stages, &1))
    |> Enum.find(&is_struct(&1, Queue))
    |> case do
      nil -> true
      queue -> queue.groups == [] and not crowded?(queue)
    end
  end

  defp drain(engine, index) do
    queue = elem(engine.stages, index)

    with true <- downstream_room?(engine, index),
         {[_ | _] = chunks, flow} <- Flow.take(queue.flow) do
      engine = put(engine, index, %{queue | flow: flow})
      {true, Enum.reduce(chunks, engine, &chunk(&2, index, ahead(&2, index, &1)))}
    else
      _ -> {false, engine}
    end
  end

  defp ahead(%__MODULE__{halted: halted} = engine, index, {:full, _, _, _} = full)
       when halted != nil,
       do: ahead(engine, index, Fill.chunk(full))

  # What comes behind an item that has halted this stage goes nowhere.
  defp ahead(%__MODULE__{halted: {limit, at, _error}}, index, {kind, entries})
       when at == index and kind in [:ok, :mixed],
       do: {kind, Enum.filter(entries, &(elem(&1, 0) < limit))}

  defp ahead(_engine, _index, chunk), do: chunk

  defp chunk(engine, _index, {kind, []}) when kind in [:ok, :mixed], do: engine

  # From the last stage, and most batches of most pipes: all goes to the same output at once, and
  # nothing else is made of it on the way.
  defp chunk(engine, index, {:full, entries, values, attempt} = full) do
    if straight?(engine, index) and in_order?(entries) do
      {engine, _on} = engine |> gone(index, length(entries)) |> answered(index, entries)
      tally = Account.run(engine.tally, :out, length(entries))
      out(%{engine | tally: tally}, Fill.items(entries, values, attempt))
    else
      chunk(engine, index, Fill.chunk(full))
    end
  end

  defp chunk(engine, index, {:ok, entries}) do
    engine = gone(engine, index, length(entries))
    # A strategy may have put the items of a batch in another order.
    entries = if in_order?(entries), do: entries, else: Enum.sort_by(entries, &elem(&1, 0))
    {engine, on} = answered(engine, index, entries)
    pass(engine, index, on)
  end

  defp chunk(engine, index, {:mixed, outcomes}) do
    engine = gone(engine, index, length(outcomes))
    %Queue{name: name, targets: targets} = elem(engine.stages, index)
    ok = for {seq, :ok, item} <- outcomes, do: {seq, item}
    all = for {seq, {:routed, route}, item} <- outcomes, do: {seq, targets[route], item}
    routed = for {seq, {:output, to}, item} <- all, do: {seq, {:exit, to, %{item | route: to}}}
    jumps = for {seq, {:stage, to}, item} <- all, do: {seq, {:to, to, %{item | route: nil}}}

    tally =
      engine.tally
      |> Account.stage(name, :out, length(jumps))
      |> Account.both(name, :routed, length(routed))
      |> Account.both(name, :skipped, length(outcomes) - length(ok) - length(all))
      |> Account.errors(
        name,
        for({_seq, kind, item} <- outcomes, kind != :ok, do: item.meta.error)
      )

    skipped = for {seq, :skipped, _item} <- outcomes, do: seq
    engine = %{engine | tally: tally, live: Unfinished.ended(engine.live, skipped)}
    engine = engine |> passing(routed) |> passing(jumps)
    {engine, on} = answered(engine, index, ok)
    pass(engine, index, on |> merge(routed) |> merge(jumps))
  end

  defp chunk(engine, index, {:halt, seq, error}) do
    name = elem(engine.stages, index).name
    queue = elem(engine.stages, index)
    # The flow has dropped what it held.
    engine
    |> put(index, %{queue | left: queue.fed, groups: [], halted: true})
    |> halt(index, {seq, pipe_error(engine, name, error)})
    |> pass(index, [])
  end

  defp out(%__MODULE__{grouped: true} = engine, items),
    do: %{engine | emitted: [{:items, engine.definition.default, items} | engine.emitted]}

  defp out(%__MODULE__{definition: %{default: default}} = engine, items),
    do: %{engine | emitted: Enum.reduce(items, engine.emitted, &[{default, &1} | &2])}

  defp straight?(%__MODULE__{live: nil, halted: nil} = engine, index),
    do: elem(engine.stages, index).past.count == 0

  defp straight?(_engine, _index), do: false

  # What went well in a flow: results of Python, or answers of a handler that are to be read.
  defp answered(engine, index, entries) do
    case elem(engine.stages, index) do
      %Queue{handler: nil, name: name} ->
        {%{engine | tally: count(engine, name, :out, entries)}, entries}

      %Queue{handler: handler} ->
        result = Inline.settle_all(handler, entries)
        engine = %{engine | live: Unfinished.pass(engine.live, entries, result)}
        {result(engine, index, result), result.on}
    end
  end

  defp gone(engine, index, count) do
    queue = elem(engine.stages, index)
    put(engine, index, %{queue | left: queue.left + count})
  end

  defp submit(engine, index) do
    case elem(engine.stages, index) do
      %Queue{groups: [group | groups], flow: flow} = queue ->
        if Flow.free(flow) > 0 do
          queue = %{queue | groups: groups, flow: Flow.submit(flow, group)}
          engine |> put(index, queue) |> submit(index)
        else
          engine
        end

      _ ->
        engine
    end
  end

  # The last, partial batch goes once nothing more can come.
  defp flush_batcher(engine, index) do
    case elem(engine.stages, index) do
      %Queue{flushed: false} = queue ->
        over? = nothing_before?(engine, index)

        if over? or crowded?(queue) do
          groups = queue.groups ++ guard(engine, fn -> Batcher.flush(queue.batcher) end)
          queue = %{queue | batcher: queue.fresh, batched: queue.fed, flushed: over?}
          queue = %{queue | groups: groups}
          engine |> put(index, queue) |> submit(index)
        else
          engine
        end

      _ ->
        engine
    end
  end

  defp nothing_before?(engine, index) do
    {from, over?} =
      case engine.halted do
        {_seq, at, _error} when at < index -> {at + 1, true}
        _ -> {0, engine.source == :done}
      end

    over? and Enum.all?(from..(index - 1)//1, &empty?(elem(engine.stages, &1)))
  end

  defp empty?(%Inline{}), do: true
  defp empty?(stage), do: stage.past.count == 0 and clear?(stage)

  defp clear?(%Queue{fed: fed, left: left}), do: fed == left
  defp clear?(%Regroup{count: count}), do: count == 0

  ## Leaving

  defp emit(engine, entries) do
    out = Enum.count(entries, &match?({_seq, %Item{}}, &1))
    live = engine.live && Unfinished.ended(engine.live, Enum.map(entries, &elem(&1, 0)))
    engine = %{engine | live: live, tally: Account.run(engine.tally, :out, out)}
    %{engine | emitted: Enum.reduce(entries, engine.emitted, &[shape(engine, &1) | &2])}
  end

  defp shape(engine, {seq, {:exit, output, item}}), do: shape(engine, seq, output, item)
  defp shape(engine, {seq, item}), do: shape(engine, seq, engine.definition.default, item)

  defp shape(%__MODULE__{live: nil}, _seq, output, item), do: {output, item}
  defp shape(_tracked, seq, output, item), do: {seq, output, item}

  # Seqs of inputs, which most are, compare by their number.
  defp in_order?([one | [other | _] = rest]) do
    case {elem(one, 0), elem(other, 0)} do
      {[a], [b]} -> a <= b and in_order?(rest)
      {a, b} -> a <= b and in_order?(rest)
    end
  end

  defp in_order?(_one), do: true

  ## Halting: what is ahead of the failed item still finishes

  defp halt(engine, _index, nil), do: engine

  defp halt(engine, index, {seq, error}) do
    case engine.halted do
      {earlier, _at, _error} when earlier <= seq -> engine
      _ -> %{engine | halted: {seq, index, error}}
    end
  end

  defp drained_after_halt?(engine) do
    {_seq, index, _error} = engine.halted
    Enum.all?((index + 1)..(engine.count - 1)//1, &empty?(elem(engine.stages, &1)))
  end

  defp finished?(engine) do
    engine.source == :done and
      Enum.all?(Tuple.to_list(engine.stages), fn
        %Queue{flushed: flushed} = queue -> flushed and empty?(queue)
        stage -> empty?(stage)
      end)
  end

  defp pipe_error(_engine, _name, %PipeError{} = error), do: error

  defp pipe_error(engine, name, %DispatchError{} = error) do
    %PipeError{
      pipe: engine.definition.name,
      stage: name,
      reason: error.reason,
      item: error.item,
      cause: error
    }
  end

  ## Waiting

  defp rest(engine) do
    stages =
      for stage <- Tuple.to_list(engine.stages) do
        if is_struct(stage, Queue), do: %{stage | flow: Flow.rest(stage.flow)}, else: stage
      end

    %{engine | stages: List.to_tuple(stages)}
  end

  defp deliver(engine, index, message) do
    case {elem(engine.stages, index), message} do
      {%Regroup{} = group, {:timer, timer}} ->
        {made, group} = Regroup.timer(group, timer)
        engine |> put(index, group) |> regrouped(index, made)

      {%Queue{} = queue, message} ->
        flow = guard(engine, fn -> Flow.message(queue.flow, message) end)
        put(engine, index, %{queue | flow: flow})
    end
  end

  # What the caller's code raises (the input, a strategy, a policy's function) passes through.
  # Only the engine of that moment knows what is out, so it is given back here.
  defp guard(engine, fun) do
    fun.()
  catch
    kind, reason ->
      for %Queue{flow: flow} <- Tuple.to_list(engine.stages), do: Flow.close(flow)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end
end
