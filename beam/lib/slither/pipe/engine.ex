defmodule Slither.Pipe.Engine do
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
  # items a stage made of it, so that seqs order the outputs. Every stage keeps that order.

  alias Slither.{Context, DispatchError, Item, PipeError, Telemetry}
  alias Slither.Dispatch.{Batcher, Flow, Plan, Source}
  alias Slither.Pipe.{Definition, Inline, Live, Tally}

  defmodule Queue do
    @moduledoc false
    # A Python stage: what waits to be batched, what is in its flow, and what has passed.
    @enforce_keys [:name, :batcher, :flow]
    defstruct [
      :name,
      :batcher,
      :flow,
      groups: [],
      fed: 0,
      batched: 0,
      left: 0,
      passed: nil,
      flushed: false
    ]
  end

  @enforce_keys [:definition, :alias, :source, :stages, :count, :tally, :context]
  defstruct [
    :definition,
    :alias,
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
    held: [],
    emitted: []
  ]

  @type t :: %__MODULE__{}
  @type output :: {atom, Item.t()}
  @typedoc "An output of a run that is tracked: the first of its seq is the input's position."
  @type tracked :: {seq :: [non_neg_integer, ...], atom, Item.t()}
  @type step ::
          {:outputs, [output] | [tracked], t}
          | {:done, t}
          | {:halted, [output] | [tracked], Exception.t(), t}

  # A pipe without Python has no batches to fill; so many items are run before it looks up.
  @handful 64

  @doc "A run that is ready to begin."
  @spec new(Definition.t(), Enumerable.t() | :fed, keyword, boolean) ::
          {:ok, t} | {:error, Exception.t()}
  def new(definition, input, options, bounded) do
    alias = :erlang.alias()
    context = context(definition, options)

    case build(definition.stages, definition, context, {alias, options, bounded}, []) do
      {:ok, stages} ->
        names = Enum.map(definition.stages, & &1.name)
        now = System.monotonic_time()

        engine = %__MODULE__{
          definition: definition,
          alias: alias,
          source: Source.new(input),
          stages: List.to_tuple(stages),
          count: length(stages),
          tally: Tally.new(names),
          context: context,
          started: now,
          stage_started: %{}
        }

        event(engine, :start, %{system_time: System.system_time()}, %{})
        {:ok, engine}

      {:error, error} ->
        :erlang.unalias(alias)
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
        engine = release_held(engine, :all)
        {:halted, before_halt(engine), error, %{engine | emitted: []}}

      engine.halted == nil and finished?(engine) ->
        engine = release_held(engine, :all)

        if engine.emitted == [],
          do: {:done, engine},
          else: {:outputs, Enum.reverse(engine.emitted), %{engine | emitted: []}}

      true ->
        {:wait, rest(engine)}
    end
  end

  @doc "Waits for a message of the run and takes it in."
  @spec await(t) :: t
  def await(%__MODULE__{alias: alias} = engine) do
    receive do
      {{^alias, _index}, _message} = message -> take!(engine, message)
      {{^alias, _index}, _monitor, :process, _pid, _reason} = message -> take!(engine, message)
      {:timeout, _timer, {:slither_timer, {^alias, _index}}} = message -> take!(engine, message)
    end
  end

  @doc "Takes in a message, if it is one of the run; `:pool_down` says that a pool has ended."
  @spec message(t, term) :: {:ok, t} | {:pool_down, t} | :unknown
  def message(%__MODULE__{alias: alias} = engine, message) do
    case message do
      {{^alias, index}, message} ->
        {:ok, deliver(engine, index, message)}

      {{^alias, index}, monitor, :process, _pid, reason} ->
        pool? = elem(engine.stages, index).flow.runner.monitor == monitor
        engine = deliver(engine, index, {:down, monitor, reason})
        {if(pool?, do: :pool_down, else: :ok), engine}

      {:timeout, timer, {:slither_timer, {^alias, index}}} ->
        {:ok, deliver(engine, index, {:timer, timer})}

      _other ->
        :unknown
    end
  end

  defp take!(engine, message) do
    {_ok_or_pool_down, engine} = message(engine, message)
    engine
  end

  @doc "Has the run say which inputs are finished, and leave out those that `done` names."
  @spec track(t, Slither.Pipe.Ranges.t()) :: t
  def track(engine, done), do: %{engine | live: Live.new(done)}

  @doc "The positions of the inputs that have finished since it was last asked."
  @spec finished(t) :: {[non_neg_integer], t}
  def finished(engine) do
    {positions, live} = Live.take(engine.live)
    {positions, %{engine | live: live}}
  end

  ## Fed by its driver

  @doc "Whether a run could begin: its pools are there, and its executors can be used."
  @spec check(Definition.t(), keyword) :: :ok | {:error, Exception.t()}
  def check(definition, options) do
    context = context(definition, options)

    Enum.find_value(definition.stages, :ok, fn stage ->
      with :python <- stage.type, {:error, error} <- Plan.new(stage.options, context, true) do
        {:error, stage_error(definition, stage, error)}
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
      queue -> if room?(queue), do: Batcher.want(queue.batcher), else: 0
    end
  end

  def want(_engine), do: 0

  @doc "Takes items in."
  @spec feed(t, [term]) :: t
  def feed(%__MODULE__{source: :fed} = engine, items), do: take_in(engine, items)

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

  defp emptied(%Queue{flow: flow} = queue),
    do: %{queue | batcher: Batcher.new(flow.plan.options), batched: queue.fed}

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
    queued = queue.groups |> Enum.concat() |> Enum.map(&length/1) |> Enum.sum()
    batching = queue.fed - queue.batched
    inside = queue.fed - queue.left
    finished = inside - batching - queued - flow.queued - flow.running - flow.retrying
    Map.merge(flow, %{batching: batching, queued: queued + flow.queued, finished: finished})
  end

  defp waiting(_inline), do: %{batching: 0, queued: 0, running: 0, retrying: 0, finished: 0}

  @doc "Ends the run: frees the workers and the input, and closes the account."
  @spec close(t, Exception.t() | nil) :: map
  def close(engine, error) do
    for %Queue{flow: flow} <- Tuple.to_list(engine.stages), do: Flow.close(flow)
    for %Inline{} = stage <- Tuple.to_list(engine.stages), do: shutdown(stage)
    Source.close(engine.source)
    :erlang.unalias(engine.alias)
    flush(engine.alias)
    account = Tally.close(engine.tally)
    finish_events(engine, account, error)
    account
  end

  ## Stages

  defp context(definition, options) do
    run = "run-#{System.unique_integer([:positive])}"

    %Context{
      pipe: definition.name,
      session_id: options[:session_id] || run,
      stores: definition.stores,
      metadata: options[:metadata],
      runtime: %{run: run}
    }
  end

  defp build([], _definition, _context, _run, stages), do: {:ok, Enum.reverse(stages)}

  defp build([%{type: :python} = stage | rest], definition, context, run, stages) do
    {alias, options, bounded} = run
    policy = Map.get(definition.on_error, stage.name, Map.get(definition.on_error, :*, :halt))
    settings = Keyword.merge(stage.options, on_error: policy, session_id: options[:session_id])

    # Only the last stage of a run may hold what it likes: it holds what the run collects.
    bounded = bounded or Enum.any?(rest, &(&1.type == :python))

    case Plan.new(settings, %{context | stage: stage.name}, bounded) do
      {:ok, plan} ->
        # Its place in the pipe is the tag of its messages.
        flow = Flow.new(plan, alias, length(stages))
        queue = %Queue{name: stage.name, batcher: Batcher.new(settings), flow: flow}
        build(rest, definition, context, run, [queue | stages])

      {:error, error} ->
        Enum.each(stages, &abort/1)
        {:error, stage_error(definition, stage, error)}
    end
  end

  defp build([stage | rest], definition, context, run, stages) do
    with {:ok, state} <- init(stage) do
      inline = %Inline{
        name: stage.name,
        module: stage.module,
        state: state,
        context: %{context | stage: stage.name},
        policy: Definition.policy(definition, stage.name),
        pipe: definition.name,
        outputs: definition.outputs,
        batch?: batch?(stage, state)
      }

      build(rest, definition, context, run, [inline | stages])
    else
      {:error, reason} ->
        Enum.each(stages, &abort/1)
        {:error, stage_error(definition, stage, reason)}
    end
  end

  defp init(%{module: module} = stage) do
    if Code.ensure_loaded?(module) and function_exported?(module, :init, 1) do
      module.init(stage.options)
    else
      {:error,
       %Slither.Error{
         reason: :invalid_stage,
         message: "#{inspect(module)} does not implement Slither.Stage"
       }}
    end
  end

  defp batch?(%{type: :beam}, state), do: state.batch_handler != nil
  defp batch?(%{type: :router}, _state), do: false
  defp batch?(%{module: module}, _state), do: function_exported?(module, :handle_batch, 3)

  defp abort(%Queue{flow: flow}), do: Flow.close(flow)
  defp abort(%Inline{} = stage), do: shutdown(stage)

  defp shutdown(%Inline{module: module, state: state}) do
    if function_exported?(module, :shutdown, 1), do: module.shutdown(state)
  end

  defp stage_error(definition, stage, error) do
    reason =
      if is_exception(error), do: Map.get(error, :reason, :invalid_stage), else: :invalid_stage

    %PipeError{pipe: definition.name, stage: stage.name, reason: reason, cause: error}
  end

  ## Moving entries along

  # The input is pulled only for the first Python stage, as far as that one has room.
  defp fill(%__MODULE__{source: source} = engine) when source in [:done, :fed], do: engine
  defp fill(%__MODULE__{halted: halted} = engine) when halted != nil, do: engine

  defp fill(engine) do
    case first_queue(engine) do
      nil -> if engine.emitted == [], do: engine |> pull(1) |> pump() |> fill(), else: engine
      queue -> if room?(queue), do: refill(engine, queue), else: engine
    end
  end

  defp refill(engine, queue), do: engine |> pull(Batcher.want(queue.batcher)) |> pump() |> fill()

  defp first_queue(engine),
    do: engine.stages |> Tuple.to_list() |> Enum.find(&is_struct(&1, Queue))

  defp room?(%Queue{groups: [], flow: flow}), do: Flow.free(flow) > 0
  defp room?(_queue), do: false

  defp pull(engine, count) do
    {items, source} = Source.pull(engine.source, count)
    take_in(%{engine | source: source}, items)
  end

  defp take_in(engine, items) do
    {entries, next} = number(items, engine.next, [])
    {entries, live} = Live.begin(engine.live, entries)
    tally = Tally.run(engine.tally, :in, length(entries))
    process(%{engine | next: next, live: live, tally: tally}, 0, entries, [])
  end

  defp number([item | items], next, acc),
    do: number(items, next + 1, [{[next], Item.wrap(item)} | acc])

  defp number([], next, acc), do: {Enum.reverse(acc), next}

  # Entries go through BEAM stages at once, until they reach a Python stage or the end.
  defp process(engine, index, [], exits), do: leave(engine, index, exits)

  defp process(%__MODULE__{count: index} = engine, index, entries, exits) do
    engine = %{engine | tally: Tally.run(engine.tally, :out, length(entries))}
    tail = for {seq, item} <- entries, do: {seq, :default, item}
    leave(engine, index, if(exits == [], do: tail, else: exits ++ tail))
  end

  defp process(engine, index, entries, exits) do
    engine = begun(engine, index)

    case elem(engine.stages, index) do
      %Queue{} = queue ->
        engine = %{engine | tally: count(engine, queue.name, :in, entries)}
        {groups, batcher} = Batcher.add(queue.batcher, entries)
        fed = queue.fed + length(entries)
        batched = queue.batched + (groups |> Enum.concat() |> Enum.map(&length/1) |> Enum.sum())
        queue = %{queue | batcher: batcher, fed: fed, batched: batched}
        queue = %{queue | groups: queue.groups ++ groups}
        # Fed first: an exit must not pass an entry that came with it.
        engine |> put(index, queue) |> leave_early(index, exits)

      %Inline{} = stage ->
        result = Inline.run(stage, entries)

        tally =
          count(engine, stage.name, :in, entries)
          |> Tally.both(stage.name, :skipped, result.skipped)
          |> Tally.both(stage.name, :expanded, result.expanded)
          |> Tally.both(stage.name, :routed, result.routed)
          |> Tally.run(:out, result.out)
          |> Tally.stage(stage.name, :out, result.out + length(result.on))

        live = Live.pass(engine.live, entries, result)
        engine = halt(%{engine | tally: tally, live: live}, index, result.halt)
        exits = if result.exits == [], do: exits, else: exits ++ result.exits
        process(engine, index + 1, result.on, exits)
    end
  end

  defp count(engine, name, key, entries),
    do: Tally.stage(engine.tally, name, key, length(entries))

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

      _inline ->
        pump(engine, index - 1)
    end
  end

  defp downstream_room?(engine, index) do
    (index + 1)..(engine.count - 1)//1
    |> Enum.find_value(fn later ->
      case elem(engine.stages, later) do
        %Queue{} = queue -> {:queue, queue}
        _inline -> nil
      end
    end)
    |> case do
      {:queue, queue} -> queue.groups == []
      nil -> true
    end
  end

  defp drain(engine, index) do
    queue = elem(engine.stages, index)

    with true <- downstream_room?(engine, index),
         {[_ | _] = chunks, flow} <- Flow.take(queue.flow) do
      engine = put(engine, index, %{queue | flow: flow})
      {true, Enum.reduce(chunks, engine, &chunk(&2, index, &1))}
    else
      _ -> {false, engine}
    end
  end

  defp chunk(engine, index, {:ok, entries}) do
    engine = passed(engine, index, length(entries), entries)
    name = elem(engine.stages, index).name
    tally = Tally.stage(engine.tally, name, :out, length(entries))
    process(%{engine | tally: tally}, index + 1, entries, [])
  end

  defp chunk(engine, index, {:mixed, outcomes}) do
    engine = passed(engine, index, length(outcomes), outcomes)
    name = elem(engine.stages, index).name
    ok = for {seq, :ok, item} <- outcomes, do: {seq, item}
    routed = for {seq, {:routed, output}, item} <- outcomes, do: {seq, output, item}
    skipped = length(outcomes) - length(ok) - length(routed)
    {routed, unknown} = Enum.split_with(routed, &(elem(&1, 1) in engine.definition.outputs))

    tally =
      engine.tally
      |> Tally.stage(name, :out, length(ok))
      |> Tally.both(name, :routed, length(routed))
      |> Tally.both(name, :skipped, skipped)

    gone = for {seq, :skipped, _item} <- outcomes, do: seq
    engine = %{engine | tally: tally, live: Live.ended(engine.live, gone)}
    engine = halt(engine, index, unknown_output(engine, name, unknown))
    process(engine, index + 1, ok, routed)
  end

  defp chunk(engine, index, {:halt, seq, error}) do
    name = elem(engine.stages, index).name
    queue = elem(engine.stages, index)
    # The flow has dropped what it held.
    engine = put(engine, index, %{queue | left: queue.fed, groups: []})

    halt(engine, index, {seq, pipe_error(engine, name, error)})
  end

  defp passed(engine, index, count, [_ | _] = entries) do
    queue = elem(engine.stages, index)
    last = entries |> List.last() |> elem(0)
    put(engine, index, %{queue | left: queue.left + count, passed: last})
  end

  defp passed(engine, _index, 0, []), do: engine

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
        if nothing_before?(engine, index) do
          groups = queue.groups ++ Batcher.flush(queue.batcher)
          queue = %{queue | groups: groups, batched: queue.fed, flushed: true}
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

  defp empty?(%Queue{fed: fed, left: left}), do: fed == left
  defp empty?(_inline), do: true

  ## Leaving

  # Exits before a Python stage wait for the items ahead of them that are still inside.
  defp leave_early(engine, _index, []), do: engine

  defp leave_early(engine, index, exits) do
    held = Enum.map(exits, fn {seq, output, item} -> {seq, index, output, item} end)
    release_held(%{engine | held: Enum.sort(engine.held ++ held)}, :passed)
  end

  defp leave(engine, _index, []), do: release_held(engine, :passed)

  defp leave(engine, index, exits) do
    if later_queue?(engine, index) do
      leave_early(engine, index, exits)
    else
      {ready, held} = Enum.split_with(engine.held, &passed?(engine, &1))
      ready = for {seq, _index, output, item} <- ready, do: {seq, output, item}

      exits =
        if in_order?(exits) and ready == [],
          do: exits,
          else: Enum.sort_by(ready ++ exits, &elem(&1, 0))

      emit(%{engine | held: held}, exits)
    end
  end

  defp later_queue?(engine, index) do
    Enum.any?(index..(engine.count - 1)//1, &is_struct(elem(engine.stages, &1), Queue))
  end

  defp in_order?([{a, _, _} | [{b, _, _} | _] = rest]), do: a <= b and in_order?(rest)
  defp in_order?(_exits), do: true

  defp release_held(%__MODULE__{held: []} = engine, _which), do: engine

  defp release_held(engine, which) do
    {ready, held} = Enum.split_with(engine.held, &(which == :all or passed?(engine, &1)))
    emit(%{engine | held: held}, for({seq, _, output, item} <- ready, do: {seq, output, item}))
  end

  defp passed?(engine, {seq, index, _output, _item}) do
    Enum.all?(index..(engine.count - 1)//1, fn later ->
      case elem(engine.stages, later) do
        %Queue{flow: %{plan: %{ordering: :as_completed}}} -> true
        %Queue{passed: passed} = queue -> empty?(queue) or (passed != nil and passed >= seq)
        _inline -> true
      end
    end)
  end

  defp emit(engine, exits) do
    exits =
      case engine.halted do
        nil -> exits
        {limit, _index, _error} -> Enum.filter(exits, &(elem(&1, 0) < limit))
      end

    live = engine.live && Live.ended(engine.live, Enum.map(exits, &elem(&1, 0)))
    %{engine | live: live, emitted: Enum.reduce(exits, engine.emitted, &[shape(engine, &1) | &2])}
  end

  defp shape(%__MODULE__{live: nil}, {_seq, output, item}), do: {output, item}
  defp shape(_tracked, exit), do: exit

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

  defp before_halt(engine), do: Enum.reverse(engine.emitted)

  defp finished?(engine) do
    engine.source == :done and
      Enum.all?(Tuple.to_list(engine.stages), fn
        %Queue{flushed: flushed} = queue -> flushed and empty?(queue)
        _inline -> true
      end)
  end

  defp unknown_output(_engine, _name, []), do: nil

  defp unknown_output(engine, name, [{seq, output, item} | _]) do
    {seq,
     %PipeError{
       pipe: engine.definition.name,
       stage: name,
       reason: :unknown_output,
       item: item.id,
       message: "the error policy routed to #{inspect(output)}, which is not declared",
       cause: item.meta[:error]
     }}
  end

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
    queue = elem(engine.stages, index)
    put(engine, index, %{queue | flow: Flow.message(queue.flow, message)})
  end

  defp flush(alias) do
    receive do
      {{^alias, _index}, _message} -> flush(alias)
      {{^alias, _index}, _monitor, :process, _pid, _reason} -> flush(alias)
      {:timeout, _timer, {:slither_timer, {^alias, _index}}} -> flush(alias)
    after
      0 -> :ok
    end
  end

  ## Events

  defp begun(engine, index) do
    if is_map_key(engine.stage_started, index) do
      engine
    else
      stage = Enum.at(engine.definition.stages, index)
      times = %{system_time: System.system_time()}
      Telemetry.execute([:slither, :pipe, :stage, :start], times, stage_facts(engine, stage))
      started = Map.put(engine.stage_started, index, System.monotonic_time())
      %{engine | stage_started: started}
    end
  end

  defp finish_events(engine, account, error) do
    now = System.monotonic_time()
    failed_stage = error && Map.get(error, :stage)

    for {index, started} <- engine.stage_started do
      stage = Enum.at(engine.definition.stages, index)
      counts = engine.tally.stages[stage.name]
      kept = counts.in + counts.expanded - counts.out - counts.skipped - counts.routed
      measurements = Map.merge(counts, %{duration: now - started, failed: kept})
      facts = stage_facts(engine, stage)

      if stage.name == failed_stage,
        do: stage_event(:exception, measurements, Map.merge(facts, reason(error))),
        else: stage_event(:stop, measurements, facts)
    end

    measurements = Map.put(account, :duration, now - engine.started)

    if error,
      do: event(engine, :exception, measurements, reason(error)),
      else: event(engine, :stop, measurements, %{})
  end

  defp stage_event(name, measurements, metadata),
    do: Telemetry.execute([:slither, :pipe, :stage, name], measurements, metadata)

  defp event(engine, name, measurements, more) do
    facts = Map.merge(%{run: engine.context.runtime.run, pipe: engine.definition.name}, more)
    Telemetry.execute([:slither, :pipe, :run, name], measurements, facts)
  end

  defp stage_facts(engine, stage) do
    %{
      run: engine.context.runtime.run,
      pipe: engine.definition.name,
      stage: stage.name,
      type: stage.type
    }
  end

  defp reason(error), do: %{reason: Map.get(error, :reason, :raised), error: error}
end
