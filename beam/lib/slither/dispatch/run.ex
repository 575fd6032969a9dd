defmodule Slither.Dispatch.Run do
  @moduledoc false
  # One run of a dispatch, in the process that reads it: it pulls the input as its flow has room,
  # makes batches of it, and hands results on. Called by `Slither.Dispatch`.

  alias Slither.{Context, Error, Item, Receipt}
  alias Slither.Dispatch.Settings
  alias Slither.Metrics.Runs
  alias Slither.Run.{Account, Batcher, Fill, Flow, Mailbox, Plan, Reader, Source}
  alias Slither.Telemetry.Events

  @enforce_keys [:mailbox, :owner, :source, :batcher, :flow, :facts, :receipt?, :started, :seq] ++
                  [:board]
  defstruct @enforce_keys ++ [:pause, :place, next: 0, account: %Account{}]

  @typedoc """
  `next` is the number of the next item, of which `seq` makes its seq; `owner` is the process that
  began the run. While the input is slow, nothing is pulled until `pause`. What becomes of items is
  counted in `place`, and what is inside shown on the `board`.
  """
  @type t :: %__MODULE__{
          mailbox: Mailbox.t(),
          owner: pid,
          source: Source.t(),
          batcher: Batcher.t(),
          flow: Flow.t(),
          facts: map,
          receipt?: boolean,
          started: integer,
          seq: (non_neg_integer -> term),
          board: Runs.t(),
          pause: integer | nil,
          place: Slither.Metrics.Series.place(),
          next: non_neg_integer,
          account: Account.t()
        }

  @doc "A run of the items; where it is `bounded`, results that nobody has read count as in flight."
  @spec open(Enumerable.t(), keyword, boolean) :: {:ok, t} | {:error, Error.t()}
  def open(items, options, bounded) do
    with {:ok, options} <- Settings.check(options, "Slither.dispatch/2"),
         :ok <- enumerable(items),
         {:ok, plan} <- Plan.new(options, context(options), bounded) do
      mailbox = Mailbox.open()
      # A session stays with its reader, who could end it between two items else.
      plan = %{plan | rests: bounded and plan.session == nil}

      run = %__MODULE__{
        mailbox: mailbox,
        owner: self(),
        source: Source.new(items),
        batcher: Settings.batcher(options),
        flow: plan |> Flow.new(Mailbox.inbox(mailbox, :dispatch)) |> Flow.give_whole(),
        facts: %{run: plan.context.runtime.run, pool: options[:pool]},
        receipt?: options[:receipt],
        started: System.monotonic_time(),
        place: Events.place(plan.metadata),
        board: Runs.open(seen(plan, options, bounded)),
        # The seqs of many values begin with that of their item.
        seq: if(plan.many, do: &[&1], else: & &1)
      }

      Events.run_started(:dispatch, run.facts)
      {:ok, run}
    end
  end

  # What the board of runs has of it.
  defp seen(plan, options, bounded) do
    size = options[:batch_size]
    bound = if is_integer(size), do: size * plan.max_in_flight
    Runs.plain(if(bounded, do: :stream, else: :dispatch), plan.metadata, bound)
  end

  defp context(options) do
    run = "run-#{System.unique_integer([:positive])}"

    %Context{
      session_id: options[:session_id] || run,
      metadata: options[:metadata],
      runtime: %{run: run}
    }
  end

  @doc "Whether items can be the input of a run."
  @spec enumerable(term) :: :ok | {:error, Error.t()}
  def enumerable(items) do
    if Source.enumerable?(items) do
      :ok
    else
      {:error,
       %Error{
         reason: :invalid_input,
         message: "takes an enumerable of items, got #{inspect(items, limit: 5)}",
         where: "Slither.dispatch/2"
       }}
    end
  end

  @doc "The next results, waiting for them if need be: put before `results`, the last one first."
  @spec next(t, [Item.t()]) :: Reader.step(t, [Item.t()])
  def next(run, results) do
    run = fill(%{run | flow: guard(run, fn -> Flow.go_on(run.flow) end)})
    {chunks, flow} = Flow.take(run.flow)

    cond do
      chunks != [] -> unpack(chunks, results, noted(%{run | flow: Flow.pause(flow)}))
      Flow.idle?(flow) and run.source == :done -> {:done, %{run | flow: flow}}
      true -> next(await(noted(%{run | flow: flow |> Flow.draw() |> Flow.rest()})), results)
    end
  end

  @doc "Ends the run: frees workers and the input. Gives a receipt, if somebody is to have it."
  @spec close(t, Exception.t() | nil) :: Receipt.t() | nil
  def close(run, error) do
    Reader.close(run.owner, fn -> Flow.close(run.flow) end)
    Source.close(run.source)
    Mailbox.close(run.mailbox)
    Events.settled(run.place, failed: run.next - decided(run.account))
    Runs.close(run.board)
    heard? = Events.run_end_heard?(:dispatch, error)

    if heard? or run.receipt? do
      duration = System.monotonic_time() - run.started
      account = Account.add(run.account, :in, run.next)
      receipt = Account.receipt(account, Flow.work(run.flow), duration, error)
      receipt = %{receipt | name: run.flow.plan.metadata.target}
      if heard?, do: Events.run_ended(:dispatch, receipt, run.facts, error)
      receipt
    end
  end

  ## In

  # What a batch is made of is pulled first, so that the batch can be as large as is right for it.
  defp fill(run) do
    cond do
      Flow.free(run.flow) <= 0 -> run
      pulls?(run) and want(run) > 0 -> run |> pull() |> fill()
      true -> cut(run)
    end
  end

  defp pulls?(%__MODULE__{source: :done}), do: false
  defp pulls?(%__MODULE__{pause: nil}), do: true
  # Nothing can come while it waits.
  defp pulls?(run), do: Flow.idle?(run.flow) and Batcher.inside(run.batcher) == 0

  defp want(run), do: run.batcher |> Batcher.sized(Flow.found(run.flow)) |> Batcher.want()

  defp pull(run) do
    began = Source.now()
    {groups, count, run} = guard(run, fn -> take(run) end)
    submit(%{run | pause: Source.pause(run.source, began, count)}, groups)
  end

  defp take(run) do
    batcher = Batcher.sized(run.batcher, Flow.found(run.flow))
    count = Batcher.want(batcher)
    {entries, next, source} = Source.entries(run.source, count, run.next, run.seq)
    {groups, batcher} = Batcher.add(batcher, entries)
    count = length(entries)
    Runs.entered(Runs.place(run.board, 0), count)
    {groups, count, %{run | source: source, next: next, batcher: batcher}}
  end

  defp cut(run) do
    batcher = Batcher.sized(run.batcher, Flow.found(run.flow))
    {groups, batcher} = guard(run, fn -> Batcher.cut(batcher, why(run)) end)
    run = %{run | batcher: batcher}
    if groups == [], do: run, else: run |> submit(groups) |> fill()
  end

  # While the input pauses, what is there goes to a worker that has nothing to do.
  defp why(%__MODULE__{source: :done}), do: :end
  defp why(%__MODULE__{pause: nil}), do: :room
  defp why(run), do: if(Flow.spare?(run.flow), do: :spare, else: :room)

  defp submit(run, groups),
    do: %{run | flow: Enum.reduce(groups, run.flow, &Flow.submit(&2, &1))}

  defp await(run) do
    case Mailbox.await(run.mailbox, min(patience(run.pause), Runs.due(run.board))) do
      {:dispatch, message} ->
        %{run | flow: guard(run, fn -> Flow.message(run.flow, message) end)}

      :timeout ->
        if patience(run.pause) == 0, do: %{run | pause: nil}, else: run
    end
  end

  # Whoever reads results may wait, too.
  defp noted(run) do
    %{batcher: batcher, flow: flow} = run
    inside = fn -> [Map.put(Flow.where(flow), :waiting, Batcher.inside(batcher))] end
    %{run | board: Runs.note(run.board, inside)}
  end

  defp patience(nil), do: :infinity
  defp patience(pause), do: max(0, pause - Source.now())

  # The user's code (the input, a strategy, a policy's function) may raise. `Reader` then closes
  # the run that it gave to `next/2`, which knows nothing of the batches sent since. Only this
  # function has the newer flow, so it closes that before it raises again.
  defp guard(run, fun) do
    fun.()
  catch
    kind, reason ->
      Flow.close(run.flow)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  ## Out

  defp unpack([{:ok, entries} | chunks], results, run),
    do: unpack(chunks, push(entries, results), out(run, length(entries)))

  defp unpack([{:full, entries, values, attempt} | chunks], results, run) do
    results = Fill.onto(results, entries, values, attempt)
    unpack(chunks, results, out(run, length(values)))
  end

  defp unpack([{:mixed, outcomes} | chunks], results, run) do
    {results, account} =
      Enum.reduce(outcomes, {results, run.account}, fn
        {_seq, outcome, item}, {results, account} when outcome in [:ended, :none] ->
          {results, account(account, outcome, item)}

        {_seq, outcome, item}, {results, account} ->
          {[item | results], account(account, outcome, item)}
      end)

    counted(run, account)
    for {_seq, _outcome, %{meta: %{error: error}}} <- outcomes, do: failed(run, error)
    unpack(chunks, results, %{run | account: account})
  end

  defp unpack([{:halt, _seq, error} | _chunks], results, run) do
    failed(run, error)
    {:halted, results, error, run}
  end

  defp unpack([], results, run), do: {:more, results, run}

  defp push([{_seq, item} | entries], results), do: push(entries, [item | results])
  defp push([], results), do: results

  defp out(run, count) do
    Events.settled(run.place, ok: count)
    Runs.decided(Runs.place(run.board, 0), count)
    %{run | account: Account.add(run.account, :out, count)}
  end

  # Each item once: what was made of it counts for nothing.
  defp counted(%__MODULE__{account: before} = run, account) do
    skipped = account.skipped - before.skipped
    routed = account.routed - before.routed
    ok = decided(account) - decided(before) - skipped - routed
    Events.settled(run.place, ok: ok, skipped: skipped, routed: routed)
    Runs.decided(Runs.place(run.board, 0), ok + skipped + routed)
  end

  defp decided(account),
    do: account.out + account.skipped + account.routed - account.expanded

  defp failed(run, error), do: Events.item_failed(error, run.flow.plan.metadata)

  defp account(account, :ok, _item), do: Account.add(account, :out, 1)

  defp account(account, :made, _item),
    do: account |> Account.add(:out, 1) |> Account.add(:expanded, 1)

  defp account(account, :ended, _item), do: Account.add(account, :expanded, -1)
  defp account(account, :none, _item), do: Account.add(account, :skipped, 1)
  defp account(account, policy, item), do: Account.failed(account, policy, item)
end
