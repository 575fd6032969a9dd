defmodule Slither.Dispatch do
  @moduledoc """
  Batched fan-out to Python workers, with bounded work in flight.

      items = Slither.Item.wrap_many([1, 2, 3, 4])

      {:ok, results} =
        Slither.Dispatch.run(items, module: "my_model", function: "predict_batch", batch_size: 2)

  Items are taken from any enumerable, in batches, as slots become free: never more than
  `max_in_flight` batches are out, and the input is pulled no further than that. A batch runs
  in one call of the Python function, which takes a list of payloads and returns a list of the
  same length.

  ## Options

  #{Slither.Dispatch.Settings.docs()}

  Defaults of `batch_size`, `max_in_flight`, `ordering` and `on_error` may be set in
  `config :slither, dispatch: [default_batch_size: 64, …]`.

  ## Handlers that yield

  A Python handler may be a generator. Each result is decided once it is here, and `stream/2`
  gives it to its reader before the batch ends: when the turn of its batch has come, or at once
  with `ordering: :as_completed`. What goes wrong later in the call fails the other items of the
  batch, and only those are tried again or split. A handler is at most 16 results ahead of the
  reader, and more only once others wait for its worker.

  ## When something fails

  A handler may fail single items, a value that can't be sent fails only its item, and
  anything else fails the batch. `on_error` then says what becomes of the items:

    * `:halt` ends the run: `{:error, %Slither.DispatchError{}, partial}`, with the results
      before the failure, in order;
    * `:skip` keeps them in their places, with `meta.error` and `meta.skipped`;
    * `{:route, output_or_fun}` keeps them with `meta.error` and `route` set; a function takes
      the item and the error and gives the route;
    * `{:retry, options}` tries them again first:

  #{Slither.Run.Policy.retry_docs()}
  """

  alias Slither.{Context, Error, Item, Receipt}
  alias Slither.Dispatch.Settings
  alias Slither.Run.{Account, Batcher, Fill, Flow, Heap, Mailbox, Plan, Reader, Source}
  alias Slither.Telemetry.Events

  @doc """
  Runs all items; returns their results in order.

  `{:ok, items}`, or `{:error, error, partial}`: the `Slither.DispatchError` of the first
  failure under `:halt` and the results before it, or a `Slither.Error` for options, pools and
  workers that can't be used. With `receipt: true` either has a `Slither.Receipt` as its last
  element.
  """
  @spec run(Enumerable.t(), keyword) ::
          {:ok, [Item.t()]}
          | {:error, Exception.t(), [Item.t()]}
          | {:ok, [Item.t()], Receipt.t()}
          | {:error, Exception.t(), [Item.t()], Receipt.t()}
  def run(items, options) do
    Heap.for_results(items, fn ->
      case open(items, options, false) do
        {:ok, state} -> collect(state, [])
        {:error, error} -> answer({:error, error, []}, %Receipt{}, options)
      end
    end)
  end

  @doc """
  Results as they come, lazily: nothing is pulled or sent before the stream is read.

  Raises the error that `run/2` would return. Stopping early frees the workers.

  One process reads it: another that goes on with a stream that was suspended gets a
  `Slither.Error` of the reason `:other_process`.
  """
  @spec stream(Enumerable.t(), keyword) :: Enumerable.t()
  def stream(items, options) do
    Stream.resource(fn -> open!(items, options) end, &step/1, &close/1)
  end

  @doc """
  Runs the items as one batch, in one call.

  Takes the options of `run/2` and returns the same.
  """
  @spec call_batch(Enumerable.t(), keyword) ::
          {:ok, [Item.t()]}
          | {:error, Exception.t(), [Item.t()]}
          | {:ok, [Item.t()], Receipt.t()}
          | {:error, Exception.t(), [Item.t()], Receipt.t()}
  def call_batch(items, options) do
    with true <- Keyword.keyword?(options), :ok <- enumerable(items) do
      items = Enum.to_list(items)
      one = [batch_size: max(1, length(items)), max_in_flight: 1]
      run(items, options |> Keyword.drop([:strategy]) |> Keyword.merge(one))
    else
      # It says what is wrong with them.
      _ -> run(items, options)
    end
  end

  ## The driver: one flow, one source

  defp open!(items, options) do
    case open(items, options, true) do
      {:ok, state} -> state
      {:error, error} -> raise error
    end
  end

  defp open(items, options, bounded) do
    with {:ok, options} <- Settings.check(options, "Slither.dispatch/2"),
         :ok <- enumerable(items),
         {:ok, plan} <- Plan.new(options, context(options), bounded) do
      mailbox = Mailbox.open()
      inbox = Mailbox.inbox(mailbox, :dispatch)

      state = %{
        mailbox: mailbox,
        owner: self(),
        source: Source.new(items),
        next: 0,
        batcher: Settings.batcher(options),
        flow: plan |> Flow.new(inbox) |> Flow.give_whole(),
        facts: %{run: plan.context.runtime.run, pool: options[:pool]},
        receipt: options[:receipt],
        started: System.monotonic_time(),
        account: %Account{}
      }

      Events.run_started(:dispatch, state.facts)
      {:ok, state}
    end
  end

  defp context(options) do
    run = "run-#{System.unique_integer([:positive])}"

    %Context{
      session_id: options[:session_id] || run,
      metadata: options[:metadata],
      runtime: %{run: run}
    }
  end

  defp enumerable(items) do
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

  defp collect(state, acc) do
    case next_or_close(state, acc) do
      {:items, acc, state} ->
        Heap.grow(state.next)
        collect(state, acc)

      {:done, state} ->
        answer({:ok, Enum.reverse(acc)}, close(state, nil), state)

      {:halted, acc, error, state} ->
        answer({:error, error, Enum.reverse(acc)}, close(state, error), state)
    end
  end

  defp next_or_close(state, acc) do
    next(state, acc)
  catch
    kind, reason ->
      close(state, raised(kind, reason))
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp raised(:error, %{__exception__: true} = exception), do: exception
  defp raised(kind, reason), do: Exception.normalize(:error, {kind, reason})

  # What the caller's code raises (the input, a strategy, a policy's function) passes through.
  # Only the state of that moment knows what is out, so it is given back here.
  defp guard(state, fun) do
    fun.()
  catch
    kind, reason ->
      Flow.close(state.flow)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp answer(result, receipt, options) do
    if (is_map(options) or Keyword.keyword?(options)) and options[:receipt],
      do: Tuple.insert_at(result, tuple_size(result), receipt),
      else: result
  end

  # The next results, waiting for them if need be: the last one first, before those in `acc`.
  defp next(state, acc) do
    state = fill(state)
    {chunks, flow} = Flow.take(state.flow)

    cond do
      chunks != [] ->
        flow = Flow.rest(flow)
        unpack(chunks, acc, %{state | flow: flow})

      Flow.idle?(flow) and state.source == :done ->
        {:done, %{state | flow: flow}}

      true ->
        next(await(%{state | flow: Flow.rest(flow)}), acc)
    end
  end

  defp fill(%{source: :done} = state), do: state

  defp fill(state) do
    if Flow.free(state.flow) > 0, do: state |> pull() |> fill(), else: state
  end

  defp pull(state) do
    {groups, state} = guard(state, fn -> batches(state) end)
    %{state | flow: Enum.reduce(groups, state.flow, &Flow.submit(&2, &1))}
  end

  defp batches(state) do
    batcher = Batcher.resize(state.batcher, Flow.batch_size(state.flow))
    count = Batcher.want(batcher)
    {entries, next, source} = Source.entries(state.source, count, state.next, & &1)
    {groups, batcher} = Batcher.add(batcher, entries)
    groups = if source == :done, do: groups ++ Batcher.flush(batcher), else: groups
    {groups, %{state | source: source, next: next, batcher: batcher}}
  end

  defp await(state) do
    {:dispatch, message} = Mailbox.await(state.mailbox)
    %{state | flow: guard(state, fn -> Flow.message(state.flow, message) end)}
  end

  defp unpack([{:ok, entries} | chunks], acc, state),
    do: unpack(chunks, push(entries, acc), out(state, length(entries)))

  defp unpack([{:full, entries, values, attempt} | chunks], acc, state) do
    acc = Fill.onto(acc, entries, values, attempt)
    unpack(chunks, acc, out(state, length(values)))
  end

  defp unpack([{:mixed, outcomes} | chunks], acc, state) do
    {acc, state} =
      Enum.reduce(outcomes, {acc, state}, fn {_seq, outcome, item}, {acc, state} ->
        {[item | acc], %{state | account: outcome(state.account, outcome, item)}}
      end)

    unpack(chunks, acc, state)
  end

  defp unpack([{:halt, _seq, error} | _chunks], acc, state),
    do: {:halted, acc, error, state}

  defp unpack([], acc, state), do: {:items, acc, state}

  defp push([{_seq, item} | entries], acc), do: push(entries, [item | acc])
  defp push([], acc), do: acc

  defp outcome(account, :ok, _item), do: Account.add(account, :out, 1)
  defp outcome(account, policy, item), do: Account.failed(account, policy, item)

  defp out(state, count), do: %{state | account: Account.add(state.account, :out, count)}

  # A stream yields what came before a failure, and raises when it is read further.
  defp step({:failed, error, _state}), do: raise(error)

  defp step(state) do
    Reader.check!(state.owner, "Slither.Dispatch.stream/2")

    case next(state, []) do
      {:items, items, state} -> {Enum.reverse(items), state}
      {:done, state} -> {:halt, state}
      {:halted, items, error, state} -> {Enum.reverse(items), {:failed, error, state}}
    end
  end

  defp close({:failed, error, state}), do: close(state, error)
  defp close(state), do: close(state, nil)

  defp close(state, error) do
    Reader.close(state.owner, fn -> Flow.close(state.flow) end)
    Source.close(state.source)
    Mailbox.close(state.mailbox)

    heard? = Events.run_end_heard?(:dispatch, error)

    if heard? or state.receipt do
      duration = System.monotonic_time() - state.started
      account = Account.add(state.account, :in, state.next)
      receipt = Account.receipt(account, Flow.work(state.flow), duration, error)
      if heard?, do: Events.run_ended(:dispatch, receipt, state.facts, error)
      receipt
    end
  end
end
