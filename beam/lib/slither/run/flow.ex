defmodule Slither.Run.Flow do
  @moduledoc false
  # The ledger of one dispatch: batches that wait, batches that are out, results that are held
  # for their turn. A driver (a dispatch, or a pipe for each of its Python stages) feeds it
  # groups of batches and every message that carries its tag, and takes outcomes out.
  #
  # An outcome is `{seq, :ok | :skipped | {:routed, output}, item}`. What comes out is
  # `{:ok, [{seq, item}]}` where all went well, `{:mixed, [outcome]}`, or `{:halt, seq, error}`;
  # after `give_whole/1`, `{:full, entries, values, attempt}` in place of the first.

  alias Slither.{DispatchError, Error, PipeError, Receipt}
  alias Slither.Pool.Errors
  alias Slither.Python.Inbox
  alias Slither.Python.{Outcome, Part, Timing}
  alias Slither.Run.{AutoSize, Batcher, BytesHeld, Carrier, Mailbox, Parts, Plan, Policy}
  alias Slither.Telemetry.Events

  @splittable [:python_exception, :wrong_result, :timeout, :worker_died, :executor_failed] ++
                [:too_large, :not_decodable, :python_error]

  defmodule Batch do
    @moduledoc false
    @enforce_keys [:group, :number, :entries]
    defstruct [:group, :number, :entries, :queued, :sent, bytes: 0, attempt: 1, requeues: 0] ++
                [early: 0, early_failed: 0]
  end

  @enforce_keys [:plan, :runner]
  defstruct [
    :plan,
    :runner,
    :halted,
    next_group: 0,
    turn: 0,
    number: 0,
    groups: %{},
    todo: :queue.new(),
    todo_count: 0,
    out: %{},
    pausing: %{},
    owed: %{},
    held: 0,
    load: nil,
    auto: nil,
    whole?: false,
    ready: :queue.new(),
    abandoned: [],
    work: Receipt.no_work()
  ]

  @type t :: %__MODULE__{}

  @doc "An empty flow of a plan, which `message/2` gives what its inbox is told."
  @spec new(Plan.t(), Inbox.t()) :: t
  def new(%Plan{} = plan, inbox) do
    auto = if plan.options[:batch_size] == :auto, do: AutoSize.new(plan.options)
    runner = Carrier.new(plan, inbox)
    %__MODULE__{plan: plan, runner: runner, load: BytesHeld.new(plan), auto: auto}
  end

  @doc "How many more batches it takes now."
  @spec free(t) :: integer
  def free(%__MODULE__{} = flow) do
    if flow.halted != nil or BytesHeld.full?(flow.load),
      do: 0,
      else: flow.plan.max_in_flight - inside(flow) - held(flow)
  end

  @doc "The batch size it has found, if it looks for one."
  @spec batch_size(t) :: pos_integer | nil
  def batch_size(%__MODULE__{auto: nil}), do: nil
  def batch_size(%__MODULE__{auto: auto}), do: auto.size

  @doc "Whether nothing is waiting, out, or held."
  @spec idle?(t) :: boolean
  def idle?(%__MODULE__{} = flow), do: flow.groups == %{} and :queue.is_empty(flow.ready)

  @doc "How many items wait for a worker, are with one, and wait for their next attempt."
  @spec where(t) :: %{
          queued: non_neg_integer,
          running: non_neg_integer,
          retrying: non_neg_integer
        }
  def where(%__MODULE__{} = flow) do
    %{
      queued: items(:queue.to_list(flow.todo)),
      running: items(Map.values(flow.out)),
      retrying: items(Map.values(flow.pausing))
    }
  end

  defp items(batches), do: batches |> Enum.map(&length(&1.entries)) |> Enum.sum()

  @doc "Takes in a group of batches; one that its strategy gave up has failed already."
  @spec submit(t, [Batcher.batch(), ...]) :: t
  def submit(%__MODULE__{next_group: id} = flow, batches) do
    group = %{left: length(batches), chunks: [], halt: nil, settled: 0, since: 0, bytes: 0}
    group = Map.put(group, :parts?, false)
    flow = %{flow | next_group: id + 1, groups: Map.put(flow.groups, id, group)}

    {given_up, batches} = Enum.split_with(batches, &match?({:failed, _entries, _error}, &1))

    flow =
      Enum.reduce(batches, flow, fn entries, flow ->
        batch = %Batch{group: id, number: flow.number, entries: entries}
        admit(%{flow | number: flow.number + 1}, batch)
      end)

    given_up |> Enum.reduce(flow, &give_up(&2, id, &1)) |> advance()
  end

  defp give_up(flow, id, {:failed, entries, error}) do
    batch = %Batch{group: id, number: flow.number, entries: entries}
    failed(%{flow | number: flow.number + 1}, batch, error)
  end

  @doc """
  Has the flow give whole batches as they come, for who takes them at once and puts their values
  in the items. Elsewhere what waits to be taken would hold the payloads that were sent, too.
  """
  @spec give_whole(t) :: t
  def give_whole(flow), do: %{flow | whole?: true}

  @doc "Everything that is ready, in order."
  @spec take(t) :: {[Parts.chunk() | Parts.full() | {:halt, term, Exception.t()}], t}
  def take(%__MODULE__{ready: ready} = flow) do
    # Owed only for what is ready: a flow with nothing to take is as it was.
    for {ref, count} <- flow.owed, do: Carrier.taken(flow.runner, ref, count)

    {:queue.to_list(ready),
     %{
       flow
       | ready: :queue.new(),
         held: Enum.count(flow.groups, &complete?/1),
         owed: %{},
         load: BytesHeld.taken(flow.load)
     }}
  end

  defp complete?({_id, group}), do: group.left == 0

  @doc "Gives back lanes that are not needed at once; called before the driver waits."
  @spec rest(t) :: t
  def rest(flow), do: %{flow | runner: Carrier.rest(flow.runner)}

  @doc "Ends everything that is still out."
  @spec close(t) :: :ok
  def close(flow) do
    for {timer, _batch} <- flow.pausing, do: :erlang.cancel_timer(timer)
    Carrier.close(flow.runner, Map.keys(flow.out))
    Carrier.end_run(flow.runner)
  end

  @doc "Ends the batch that begins with item `seq`, wherever it is."
  @spec kill(t, non_neg_integer) :: t
  def kill(flow, seq) do
    case Enum.find(flow.out, fn {_ref, batch} -> begins?(batch, seq) end) do
      {ref, _batch} ->
        Carrier.kill(flow.runner, ref)
        flow

      nil ->
        {gone, todo} = flow.todo |> :queue.to_list() |> Enum.split_with(&begins?(&1, seq))
        left = flow.todo_count - length(gone)
        flow = %{flow | todo: :queue.from_list(todo), todo_count: left}
        error = %Error{reason: :killed, message: "the call was killed before it began"}
        gone |> Enum.reduce(flow, &failed(&2, &1, error)) |> advance()
    end
  end

  defp begins?(%Batch{entries: [{seq, _item} | _]}, seq), do: true
  defp begins?(_batch, _seq), do: false

  @doc "Takes a message of the flow's inbox."
  @spec message(t, Mailbox.message()) :: t
  def message(flow, {:granted, ref, lane}) do
    %{flow | runner: Carrier.granted(flow.runner, ref, lane)} |> advance()
  end

  def message(flow, {:denied, ref, error}) do
    flow = %{flow | runner: Carrier.denied(flow.runner, ref)}

    case pop(flow) do
      {nil, flow} -> flow
      {batch, flow} -> flow |> failed(batch, error) |> advance()
    end
  end

  def message(flow, {:part, ref, part}) do
    case flow.out do
      %{^ref => batch} -> flow |> part(ref, batch, part) |> advance()
      # Of a batch that was given up.
      _ -> flow
    end
  end

  def message(flow, {:done, ref, outcome}) do
    # Its lane may have another job next.
    flow = %{flow | owed: Map.delete(flow.owed, ref)}

    case Map.pop(flow.out, ref) do
      {nil, _out} ->
        unexpected(flow, ref)

      {batch, out} ->
        # A lane that gave the batch back has lost its worker; another has given back itself.
        flow = %{flow | out: out, runner: Carrier.done(flow.runner, ref, served(outcome))}
        flow |> back(batch) |> done(batch, outcome) |> advance()
    end
  end

  def message(flow, {:lane_lost, ref, error}) do
    case Map.pop(flow.out, ref) do
      {nil, _out} -> %{flow | runner: Carrier.lost(flow.runner, ref)}
      {batch, out} -> %{flow | out: out} |> back(batch) |> failed(batch, error) |> advance()
    end
  end

  def message(flow, {:timer, timer}) do
    case Map.pop(flow.pausing, timer) do
      {nil, _pausing} -> %{flow | runner: Carrier.timer(flow.runner, timer)}
      {batch, pausing} -> %{flow | pausing: pausing} |> again(batch) |> advance()
    end
  end

  def message(flow, {:down, monitor, reason}) do
    case Carrier.down(flow.runner, monitor, reason) do
      {:task, ref, error, runner} ->
        message(%{flow | runner: runner}, {:lane_lost, ref, error})

      {:pool, error, runner} ->
        {batches, flow} = drain(%{flow | runner: runner})
        Enum.reduce(batches, flow, &failed(&2, &1, error))
    end
  end

  defp served(%Outcome{timing: %Timing{given_back?: true}}), do: nil

  defp served(%Outcome{kind: kind, timing: %Timing{worker: slot}}) when kind in [:ok, :error],
    do: slot

  defp served(_outcome), do: nil

  ## Sending

  # A batch's bytes are counted from here until it is settled.
  defp admit(flow, batch) do
    {batch, flow} = counted(flow, batch)
    enqueue(flow, batch)
  end

  defp counted(flow, batch) do
    {bytes, load} = BytesHeld.admit(flow.load, batch.entries)
    {%{batch | bytes: bytes}, %{flow | load: load}}
  end

  defp back(flow, batch), do: %{flow | load: BytesHeld.back(flow.load, batch.bytes)}

  defp enqueue(flow, batch) do
    batch = %{batch | queued: System.monotonic_time()}
    %{flow | todo: :queue.in(batch, flow.todo), todo_count: flow.todo_count + 1}
  end

  # In a session, what is tried again comes before what has not been tried.
  defp again(%{plan: %{session: nil}} = flow, batch), do: enqueue(flow, batch)

  defp again(flow, batch) do
    batch = %{batch | queued: System.monotonic_time()}
    %{flow | todo: :queue.in_r(batch, flow.todo), todo_count: flow.todo_count + 1}
  end

  defp pop(%__MODULE__{} = flow) do
    case :queue.out(flow.todo) do
      {:empty, _todo} -> {nil, flow}
      {{:value, batch}, todo} -> {batch, %{flow | todo: todo, todo_count: flow.todo_count - 1}}
    end
  end

  defp advance(%__MODULE__{todo_count: 0} = flow), do: flow

  # A session keeps its order: nothing overtakes what will be tried again.
  defp advance(%__MODULE__{plan: %{session: session}, pausing: pausing} = flow)
       when session != nil and map_size(pausing) > 0,
       do: flow

  defp advance(flow) do
    if BytesHeld.fits?(flow.load, next_bytes(flow)), do: advance_next(flow), else: flow
  end

  defp next_bytes(%{load: nil}), do: 0

  defp next_bytes(flow) do
    {:value, batch} = :queue.peek(flow.todo)
    batch.bytes
  end

  defp advance_next(flow) do
    case Carrier.lane(flow.runner) do
      {:ok, lane, runner} ->
        {batch, flow} = pop(flow)
        flow |> send_out(batch, lane, runner) |> advance()

      {:none, runner} ->
        %{flow | runner: Carrier.want(runner, flow.todo_count, map_size(flow.out))}

      {:gone, error} ->
        {batch, flow} = pop(flow)
        flow |> failed(batch, error) |> advance()
    end
  end

  defp send_out(flow, batch, lane, runner) do
    batch = %{batch | sent: System.monotonic_time()}
    {ref, runner} = Carrier.run(runner, lane, batch)
    if Events.batch_heard?(:start), do: started(flow, batch)
    load = BytesHeld.sent(flow.load, batch.bytes)
    count(%{flow | out: Map.put(flow.out, ref, batch), runner: runner, load: load}, :batches)
  end

  ## Results

  defp done(flow, batch, %Outcome{kind: :ok, errors: errors} = outcome) when errors == %{} do
    %Outcome{values: values, timing: times} = outcome
    flow = spent(flow, batch, times)

    if length(values) == length(batch.entries) do
      stopped(flow, batch, times, 0)
      flow = keep(flow, batch, times)
      settle(flow, batch, [whole(flow, batch, values)])
    else
      failed(flow, batch, wrong_length(batch, values))
    end
  end

  defp done(flow, batch, %Outcome{kind: :ok} = outcome) do
    %Outcome{values: values, errors: errors, timing: times} = outcome
    flow = spent(flow, batch, times)
    stopped(flow, batch, times, map_size(errors))
    flow |> keep(batch, times) |> decide(batch, values, errors) |> close_batch(batch)
  end

  defp done(flow, batch, %Outcome{kind: kind} = outcome) when kind in [:error, :died],
    do: flow |> spent(batch, outcome.timing) |> failed(batch, outcome.error)

  defp done(flow, batch, %Outcome{error: error}) do
    case Errors.given_back(error, batch.requeues) do
      {:again, count} ->
        todo = :queue.in_r(%{batch | requeues: count}, flow.todo)
        count(%{flow | todo: todo, todo_count: flow.todo_count + 1}, :requeues)

      {:failed, error} ->
        failed(flow, batch, error)
    end
  end

  # What is held for its turn holds no payloads that were sent.
  defp whole(flow, batch, values) do
    if at_once?(flow, batch),
      do: {:full, batch.entries, values, batch.attempt},
      else: {:ok, Parts.fill(batch.entries, values, batch.attempt)}
  end

  defp at_once?(%__MODULE__{whole?: false}, _batch), do: false
  defp at_once?(%__MODULE__{plan: %{ordering: :as_completed}}, _batch), do: true

  defp at_once?(%__MODULE__{turn: id, groups: groups}, %Batch{group: id}),
    do: match?(%{^id => %{left: 1, chunks: [], halt: nil}}, groups)

  defp at_once?(_flow, _batch), do: false

  defp decide(flow, batch, values, errors) do
    {good, bad} = Parts.sort(batch.entries, values, errors)
    {entries, values} = Enum.unzip(good)
    filled = Parts.fill(entries, values, batch.attempt)

    flow
    |> chunk(batch, if(filled == [], do: [], else: [{:ok, filled}]))
    |> fail_items(batch, bad, :item)
  end

  # What a handler has yielded is decided: the batch goes on as what is left of it, so that
  # nothing that comes after can have an item run again, or give it a second outcome.
  defp part(flow, ref, batch, %Part{values: values, errors: errors, bytes: bytes}) do
    count = length(values)
    {now, left} = Enum.split(batch.entries, count)
    failed = batch.early_failed + map_size(errors)
    rest = %{batch | entries: left, early: batch.early + count, early_failed: failed}
    flow = %{flow | out: Map.put(flow.out, ref, rest)}

    %{flow | load: BytesHeld.held(flow.load, bytes)}
    |> update_group(batch.group, &%{&1 | parts?: true, bytes: &1.bytes + bytes})
    |> decide(%{batch | entries: now}, values, errors)
    |> pass_on(batch.group)
    |> owe(ref, batch.group, count)
  end

  # Results of batches that are out go on before them. Those that must wait for others of their
  # group are held, as whole batches are.
  defp pass_on(%__MODULE__{plan: %{ordering: :as_completed}} = flow, id) do
    case flow.groups do
      %{^id => %{halt: {_, _}} = group} -> release(flow, id, group)
      %{^id => group} -> passed(flow, id, group, [], [])
      _ -> flow
    end
  end

  defp pass_on(%__MODULE__{turn: id} = flow, id) do
    %{chunks: chunks, halt: halt} = group = flow.groups[id]

    case Parts.ready(chunks, halt, Parts.first(open(flow, id))) do
      :over -> release(flow, id, group)
      {go, stay} -> passed(flow, id, group, go, stay)
    end
  end

  defp pass_on(flow, _id), do: flow

  defp passed(flow, id, group, go, stay) do
    bytes = if stay == [], do: group.bytes, else: 0
    group = %{group | chunks: stay, bytes: group.bytes - bytes}

    flow = %{
      flow
      | groups: Map.put(flow.groups, id, group),
        load: BytesHeld.ready(flow.load, bytes)
    }

    make_ready(flow, go)
  end

  defp open(flow, id) do
    batches = Map.values(flow.out) ++ Map.values(flow.pausing) ++ :queue.to_list(flow.todo)
    Enum.filter(batches, &(&1.group == id))
  end

  # A handler is told that its results were taken when they are. Of those that are held it is
  # told at once: it must not wait for the turn of its batch, which may need its worker to come.
  defp owe(flow, ref, id, count) do
    if taken_later?(flow, id) do
      %{flow | owed: Map.update(flow.owed, ref, count, &(&1 + count))}
    else
      Carrier.taken(flow.runner, ref, count)
      flow
    end
  end

  defp taken_later?(%__MODULE__{ready: ready, groups: groups}, id),
    do: not :queue.is_empty(ready) and match?(%{^id => %{chunks: [], halt: nil}}, groups)

  defp failed(flow, batch, error) do
    exception(flow, batch, error)
    flow = if short?(error), do: count(flow, :short), else: flow

    if flow.plan.isolate and length(batch.entries) > 1 and error.reason in @splittable do
      split(flow, batch)
    else
      bad = Enum.map(batch.entries, &{&1, error})
      flow |> fail_items(batch, bad, :batch) |> close_batch(batch)
    end
  end

  # Both halves are tried again until what fails is alone.
  defp split(flow, batch) do
    {left, right} = Enum.split(batch.entries, div(length(batch.entries), 2))
    flow = update_group(flow, batch.group, &%{&1 | left: &1.left + 1})
    flow = %{flow | load: BytesHeld.gone(flow.load, batch.bytes)}

    {halves, flow} =
      Enum.map_reduce([left, right], count(flow, :splits), fn entries, flow ->
        half = %{anew(batch, entries) | number: flow.number}
        counted(%{flow | number: flow.number + 1}, half)
      end)

    if flow.plan.session,
      do: List.foldr(halves, flow, &again(&2, &1)),
      else: Enum.reduce(halves, flow, &enqueue(&2, &1))
  end

  defp anew(batch, entries),
    do: %{batch | entries: entries, requeues: 0, early: 0, early_failed: 0}

  defp fail_items(flow, _batch, [], _scope), do: flow

  # Items of a batch may fail for different reasons: those that can be mended are tried again
  # together, after the longest pause that any of them asks for.
  defp fail_items(flow, batch, bad, scope) do
    pauses = for {_, %{reason: reason}} <- bad, do: pause(flow, batch, reason)
    {final, again} = bad |> Enum.zip(pauses) |> Enum.split_with(&(elem(&1, 1) == :no))
    flow = if final == [], do: flow, else: conclude(flow, batch, firsts(final), scope)

    if again == [],
      do: flow,
      else:
        retry(flow, batch, firsts(firsts(again)), again |> Enum.map(&elem(&1, 1)) |> Enum.max())
  end

  defp pause(flow, batch, reason), do: Policy.pause(flow.plan.policy, batch.attempt, reason)
  defp firsts(pairs), do: Enum.map(pairs, &elem(&1, 0))

  defp retry(flow, batch, entries, pause) do
    {bytes, load} = BytesHeld.admit(flow.load, entries)
    flow = %{flow | load: load}
    again = %{anew(batch, entries) | bytes: bytes, attempt: batch.attempt + 1}
    timer = Mailbox.start_timer(flow.runner.inbox, pause)
    flow = update_group(flow, batch.group, &%{&1 | left: &1.left + 1})
    count(%{flow | pausing: Map.put(flow.pausing, timer, again)}, :retries)
  end

  defp conclude(flow, batch, bad, scope) do
    Enum.reduce_while(bad, {flow, []}, fn {{seq, item}, error}, {flow, outcomes} ->
      error = dispatch_error(flow, batch, item, error, scope)
      item = Parts.tried(item, batch.attempt)

      case Policy.outcome(flow.plan.policy, item, error) do
        :halt ->
          {:halt, {halt(flow, batch, seq, error), outcomes}}

        {:halt, broken} ->
          {:halt, {halt(flow, batch, seq, broken(flow, batch, item, broken)), outcomes}}

        {kind, item} ->
          {:cont, {flow, [{seq, kind, item} | outcomes]}}
      end
    end)
    |> then(fn {flow, outcomes} ->
      if outcomes == [],
        do: flow,
        else: chunk(flow, batch, [{:mixed, Enum.reverse(outcomes)}])
    end)
  end

  # Nothing later is begun; what is earlier still finishes, so that partial results are whole.
  defp halt(flow, batch, seq, error) do
    flow = update_group(flow, batch.group, &%{&1 | halt: earlier(&1.halt, {seq, error})})
    {later, todo} = Enum.split_with(:queue.to_list(flow.todo), &(&1.group > batch.group))

    %{
      flow
      | halted: min(flow.halted || batch.group, batch.group),
        todo: :queue.from_list(todo),
        todo_count: flow.todo_count - length(later)
    }
  end

  defp earlier(nil, halt), do: halt
  defp earlier({seq, _} = old, {other, _}) when seq <= other, do: old
  defp earlier(_old, new), do: new

  ## Turns

  # What came back is held until its turn.
  defp keep(%{load: nil} = flow, _batch, _times), do: flow

  defp keep(flow, batch, times) do
    bytes = times.result_bytes
    flow = update_group(flow, batch.group, &%{&1 | bytes: &1.bytes + bytes})
    %{flow | load: BytesHeld.held(flow.load, bytes)}
  end

  defp settle(flow, batch, chunks), do: flow |> chunk(batch, chunks) |> close_batch(batch)

  defp chunk(flow, _batch, []), do: flow

  defp chunk(%__MODULE__{plan: %{ordering: :as_completed}} = flow, _batch, chunks),
    do: make_ready(flow, chunks)

  defp chunk(flow, batch, chunks),
    do: update_group(flow, batch.group, &%{&1 | chunks: chunks ++ &1.chunks})

  defp close_batch(flow, batch) do
    flow = %{flow | load: BytesHeld.gone(flow.load, batch.bytes)}
    now = System.monotonic_time()

    flow =
      update_group(flow, batch.group, fn group ->
        %{group | left: group.left - 1, settled: group.settled + 1, since: group.since + now}
      end)

    case {flow.groups[batch.group], flow.plan.ordering} do
      {%{left: 0}, :preserve} ->
        turn(%{flow | held: flow.held + 1})

      {%{halt: {_, _}} = group, :as_completed} ->
        release(flow, batch.group, group)

      {%{left: 0} = group, :as_completed} ->
        release(%{flow | held: flow.held + 1}, batch.group, group)

      {%{parts?: true}, _ordering} ->
        pass_on(flow, batch.group)

      _ ->
        flow
    end
  end

  defp turn(%__MODULE__{turn: turn} = flow) do
    case flow.groups do
      %{^turn => %{left: 0} = group} ->
        %{flow | turn: turn + 1} |> release(turn, group) |> turn()

      %{^turn => %{parts?: true}} ->
        pass_on(flow, turn)

      _ ->
        flow
    end
  end

  defp release(flow, id, group) do
    waited = group.settled * System.monotonic_time() - group.since
    work = Map.update!(flow.work, :reorder, &(&1 + waited))
    groups = Map.delete(flow.groups, id)
    chunks = merge(group)
    load = BytesHeld.ready(flow.load, group.bytes)
    flow = make_ready(%{flow | groups: groups, work: work, load: load}, chunks)

    case group.halt do
      nil ->
        flow

      {seq, error} ->
        # Later groups are of no use to anyone now.
        :ok = Carrier.close(flow.runner, Map.keys(flow.out))
        runner = Carrier.emptied(flow.runner)
        for {timer, _batch} <- flow.pausing, do: :erlang.cancel_timer(timer)
        flow = make_ready(flow, [{:halt, seq, error}])
        abandoned = Map.keys(flow.out)
        flow = %{flow | groups: %{}, out: %{}, pausing: %{}, abandoned: abandoned}
        %{flow | runner: runner, todo: :queue.new(), todo_count: 0}
    end
  end

  defp make_ready(flow, chunks),
    do: %{flow | ready: Enum.reduce(chunks, flow.ready, &:queue.in/2)}

  defp merge(%{chunks: [], halt: nil}), do: []
  defp merge(%{chunks: [{:ok, _} = chunk], halt: nil}), do: [chunk]
  defp merge(%{chunks: [{:full, _, _, _} = chunk], halt: nil}), do: [chunk]

  defp merge(%{chunks: chunks, halt: halt}) do
    outcomes = Parts.outcomes(chunks)

    case halt do
      nil -> [{:mixed, outcomes}]
      {seq, _error} -> [{:mixed, Enum.take_while(outcomes, &(elem(&1, 0) < seq))}]
    end
  end

  defp update_group(flow, id, fun) do
    case flow.groups do
      %{^id => group} -> %{flow | groups: Map.put(flow.groups, id, fun.(group))}
      _ -> flow
    end
  end

  ## The account

  defp count(flow, key), do: %{flow | work: Map.update!(flow.work, key, &(&1 + 1))}

  defp spent(flow, batch, times) do
    flow = %{flow | work: Receipt.add_times(flow.work, batch.sent - batch.queued, times)}
    if flow.auto != nil and times != nil, do: measured(flow, batch, times), else: flow
  end

  # Items that could not be sent take the handler no time, and say nothing.
  defp measured(flow, _batch, %{handler: 0}), do: flow

  defp measured(flow, batch, times),
    do: %{flow | auto: AutoSize.measured(flow.auto, times.handler, size(batch))}

  # An answer that nobody waits for changes nothing but the count of such.
  defp unexpected(flow, ref),
    do: count(flow, if(ref in flow.abandoned, do: :late, else: :duplicate))

  defp short?(%{reason: :wrong_result}), do: true
  defp short?(%{details: %{short: true}}), do: true
  defp short?(_error), do: false

  defp inside(flow), do: flow.todo_count + map_size(flow.out) + map_size(flow.pausing)

  # A stream's results that wait to be taken count as in flight; a run keeps them all anyway.
  defp held(%__MODULE__{plan: %{bounded: true}} = flow), do: flow.held
  defp held(_flow), do: 0

  defp drain(flow) do
    batches = :queue.to_list(flow.todo) ++ Map.values(flow.out)

    load =
      Enum.reduce(flow.out, flow.load, fn {_ref, b}, load -> BytesHeld.back(load, b.bytes) end)

    {batches, %{flow | todo: :queue.new(), todo_count: 0, out: %{}, load: load}}
  end

  ## Errors and events

  defp broken(flow, batch, item, error), do: dispatch_error(flow, batch, item, error, :item)

  # A handler on BEAM has said already what went wrong, and where.
  defp dispatch_error(_flow, _batch, item, %PipeError{} = error, _scope),
    do: %{error | item: item.id}

  defp dispatch_error(flow, batch, item, error, scope) do
    %DispatchError{
      reason: error.reason,
      stage: flow.plan.context.stage,
      batch: batch.number,
      item: if(scope == :item or match?([_], batch.entries), do: item.id),
      attempts: batch.attempt,
      cause: error
    }
  end

  defp wrong_length(batch, values) do
    %Error{
      reason: :wrong_result,
      message: "the executor gave #{length(values)} results for #{length(batch.entries)} items",
      hint: "return one result for each item, in order",
      details: %{expected: length(batch.entries), got: length(values)}
    }
  end

  defp size(batch), do: batch.early + length(batch.entries)

  defp metadata(flow, batch),
    do: %{flow.plan.metadata | batch: batch.number, attempt: batch.attempt}

  defp started(flow, batch),
    do: Events.batch_started(length(batch.entries), metadata(flow, batch))

  defp stopped(flow, batch, times, failed) do
    if Events.batch_heard?(:stop), do: tell_stopped(flow, batch, times, failed)
  end

  defp tell_stopped(flow, batch, times, failed) do
    now = System.monotonic_time()

    measurements =
      times
      |> Timing.measurements()
      |> Map.merge(%{
        held_bytes: BytesHeld.inside(flow.load),
        batch_size: batch_size(flow) || flow.plan.options[:batch_size] || size(batch),
        duration: now - batch.sent,
        queue: batch.sent - batch.queued,
        size: size(batch),
        failed: batch.early_failed + failed
      })

    Events.batch_stopped(measurements, Map.put(metadata(flow, batch), :worker, times.worker))
  end

  defp exception(flow, batch, error),
    do: Events.batch_failed(batch.sent, length(batch.entries), metadata(flow, batch), error)
end
