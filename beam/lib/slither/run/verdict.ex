defmodule Slither.Run.Verdict do
  @moduledoc false
  # Decides, by the plan, what becomes of an answered batch: which items are decided, and which
  # are tried again. Pure; `Slither.Run.Flow` carries the verdicts out.

  alias Slither.{DispatchError, Error, PipeError}
  alias Slither.Run.{Batch, Fill, Order, Plan, Policy, Refusal}

  @splittable [:python_exception, :wrong_result, :timeout, :memory, :worker_died] ++
                [:executor_failed, :too_large, :not_decodable, :python_error]

  # They cost a worker, and the first one all the time that a batch may take.
  @costly [:timeout, :memory, :worker_died]
  # Items that go one by one after such a failure.
  @few 16

  @typedoc """
  Items are decided; the run ends with an item's failure; some are tried again after a pause of so
  many ms; some were refused, and their rate is to give nothing for so many ms.
  """
  @type t ::
          {:settled, Order.chunk()}
          | {:halt, seq :: term, Exception.t()}
          | {:retry, Batch.t(), pause :: non_neg_integer}
          | {:refused, Batch.t(), pause :: non_neg_integer}

  @doc "Of a batch that has values for its items, or errors, by their index."
  @spec answered(Plan.t(), Batch.t(), [term], %{optional(non_neg_integer) => Error.t()}) :: [t]
  def answered(plan, batch, values, errors) do
    {good, bad} = sort(batch.entries, values, errors)
    {entries, values} = Enum.unzip(good)
    failures = items_failed(plan, batch, bad, :item)

    if entries == [],
      do: failures,
      else: [{:settled, {:ok, Fill.entries(entries, values, batch.attempt)}} | failures]
  end

  @doc "Of a batch that failed as a whole; `:split` where its parts are to be tried by themselves."
  @spec failed(Plan.t(), Batch.t(), Exception.t()) :: [t] | {:split, [Batch.t(), ...]}
  def failed(plan, %Batch{entries: entries} = batch, error) do
    if plan.isolate and length(entries) > 1 and error.reason in @splittable and
         Refusal.again(plan.rate, batch.refused, error) == :no,
       do: {:split, for(part <- parts(entries, error.reason), do: Batch.anew(batch, part))},
       else: items_failed(plan, batch, Enum.map(entries, &{&1, error}), :batch)
  end

  # What raises is found with the fewest calls. What ends workers is met as seldom as can be: three
  # times where halves of 64 items would meet it seven times.
  defp parts(entries, reason) when reason in @costly do
    count = length(entries)
    Enum.chunk_every(entries, if(count > @few, do: ceil(:math.sqrt(count)), else: 1))
  end

  defp parts(entries, _reason) do
    {left, right} = Enum.split(entries, div(length(entries), 2))
    [left, right]
  end

  @doc "Of items of a batch that failed, each with its error."
  @spec items(Plan.t(), Batch.t(), [{Batch.entry(), Exception.t()}]) :: [t]
  def items(plan, batch, failures), do: items_failed(plan, batch, failures, :item)

  @doc "As `items/3`, of items that are not tried again: some of what they gave is out."
  @spec final(Plan.t(), Batch.t(), [{Batch.entry(), Exception.t()}]) :: [t]
  def final(plan, batch, failures), do: conclude(plan, batch, failures, :item, [])

  @doc """
  Of a batch whose worker was ended for the item at a place in it: that one fails, and the others,
  which had not begun or whose results had not come, go again. `at` is below 0 for an item that was
  decided meanwhile.
  """
  @spec apart(Plan.t(), Batch.t(), Exception.t(), integer) :: {[t], again :: [Batch.entry()]}
  def apart(_plan, batch, _error, at) when at < 0, do: {[], batch.entries}

  def apart(plan, batch, error, at) do
    {before, [entry | behind]} = Enum.split(batch.entries, at)
    verdicts = items_failed(plan, batch, [{entry, error}], :item)
    # A run that ends with this item needs those before it, and none behind.
    halts? = Enum.any?(verdicts, &match?({:halt, _seq, _error}, &1))

    {verdicts, if(halts?, do: before, else: before ++ behind)}
  end

  @doc "The failure of a batch that has another number of results than items."
  @spec wrong_length(Batch.t(), [term]) :: Error.t()
  def wrong_length(%Batch{entries: entries}, values) do
    %Error{
      reason: :wrong_result,
      message: "the executor gave #{length(values)} results for #{length(entries)} items",
      hint: "return one result for each item, in order",
      details: %{expected: length(entries), got: length(values)}
    }
  end

  @doc "Whether a failure is that of a batch with too few results."
  @spec short?(Exception.t()) :: boolean
  def short?(%{reason: :wrong_result}), do: true
  def short?(%{details: %{short: true}}), do: true
  def short?(_error), do: false

  defp sort(entries, values, errors) do
    {good, bad} =
      entries
      |> Enum.zip(values)
      |> Enum.with_index()
      |> Enum.split_with(fn {_pair, index} -> not is_map_key(errors, index) end)

    {Enum.map(good, &elem(&1, 0)), for({{entry, _value}, at} <- bad, do: {entry, errors[at]})}
  end

  # The items of one batch may fail for different reasons. Those that the policy tries again go
  # out as one batch, after the longest of their pauses.
  defp items_failed(plan, batch, bad, scope) do
    {refused, bad} = Refusal.apart(plan.rate, batch, bad)

    {final, again} =
      bad
      |> Enum.map(fn {_entry, error} = failure -> {failure, pause(plan, batch, error)} end)
      |> Enum.split_with(fn {_failure, pause} -> pause == :no end)

    final = for {failure, :no} <- final, do: failure
    conclude(plan, batch, final, scope, []) ++ retry(batch, again) ++ refused(refused)
  end

  # No attempt comes before the other side has said.
  defp pause(plan, batch, error) do
    with pause when is_integer(pause) <-
           Policy.pause(plan.policy, batch.attempt, error.reason),
         do: max(pause, Refusal.time(error) || 0)
  end

  defp refused(nil), do: []
  defp refused({batch, time}), do: [{:refused, batch, time}]

  defp retry(_batch, []), do: []

  defp retry(batch, again) do
    entries = for {{entry, _error}, _pause} <- again, do: entry
    pause = again |> Enum.map(&elem(&1, 1)) |> Enum.max()
    [{:retry, %{Batch.anew(batch, entries) | attempt: batch.attempt + 1}, pause}]
  end

  defp conclude(_plan, _batch, [], _scope, outcomes), do: decided(outcomes)

  defp conclude(plan, batch, [{{seq, item}, error} | bad], scope, outcomes) do
    error = dispatch_error(plan, batch, item, error, scope)
    item = Fill.tried(item, batch.attempt)

    case Policy.outcome(plan.policy, item, error) do
      :halt ->
        [{:halt, seq, error} | decided(outcomes)]

      {:halt, broken} ->
        [{:halt, seq, dispatch_error(plan, batch, item, broken, :item)} | decided(outcomes)]

      {kind, item} ->
        conclude(plan, batch, bad, scope, [{seq, kind, item} | outcomes])
    end
  end

  defp decided([]), do: []
  defp decided(outcomes), do: [{:settled, {:mixed, Enum.reverse(outcomes)}}]

  # The error of a handler on BEAM names its pipe and stage already.
  defp dispatch_error(_plan, _batch, item, %PipeError{} = error, _scope),
    do: %{error | item: item.id}

  defp dispatch_error(plan, batch, item, error, scope) do
    %DispatchError{
      reason: error.reason,
      stage: plan.context.stage,
      batch: batch.number,
      item: if(scope == :item or match?([_], batch.entries), do: item.id),
      attempts: batch.attempt,
      cause: error
    }
  end
end
