defmodule Slither.Run.Account do
  @moduledoc false
  # The account of a run, or of one stage of it, which becomes a `Slither.Receipt`: in + expanded
  # = out + skipped + routed + failed, where any item that reached no end has failed. Pure; held
  # by the drivers of runs, and by each node. Batches are counted by their flow, as a map: how
  # many there were of each kind, and where their time went.

  alias Slither.{DispatchError, Error, PipeError, Quantiles, Receipt}
  alias Slither.Python.Timing
  alias Slither.Run.Result

  @times Map.keys(%Receipt{}.times)
  @kinds [:batches, :retries, :splits, :requeues, :late, :duplicate, :short]
  @no_work Map.put(Map.new(@kinds ++ @times, &{&1, 0}), :calls, Quantiles.new())

  defstruct in: 0, expanded: 0, out: 0, skipped: 0, routed: 0, errors: %{}

  @type t :: %__MODULE__{
          in: non_neg_integer,
          expanded: integer,
          out: non_neg_integer,
          skipped: non_neg_integer,
          routed: non_neg_integer,
          errors: Receipt.errors()
        }
  @typedoc """
  What batches add to an account: counts, times in native units, and under `:calls` how long the
  handler took for each call.
  """
  @type work :: %{optional(atom) => non_neg_integer | Quantiles.t()}

  @doc "Adds to one of the counts."
  @spec add(t, :in | :expanded | :out | :skipped | :routed, integer) :: t
  def add(account, key, count), do: Map.update!(account, key, &(&1 + count))

  @doc "Adds what a result says, and how many of its entries are out: what is not dropped or routed."
  @spec settle(t, Result.t(), non_neg_integer) :: t
  def settle(account, result, out) do
    %{
      account
      | expanded: account.expanded + result.expanded,
        out: account.out + out,
        skipped: account.skipped + result.skipped,
        routed: account.routed + result.routed,
        errors: Enum.reduce(result.errors, account.errors, &count_error/2)
    }
  end

  @doc "An item met an error policy, with the error that is in its meta."
  @spec failed(t, :skipped | {:routed, term}, Slither.Item.t()) :: t
  def failed(account, outcome, item) do
    key = if outcome == :skipped, do: :skipped, else: :routed
    add(%{account | errors: count_error(item.meta.error, account.errors)}, key, 1)
  end

  @doc "The five counts."
  @spec counts(t) :: map
  def counts(account), do: account |> Map.from_struct() |> Map.delete(:errors)

  @doc "The receipt, with the work that batches added and the error that stopped the run."
  @spec receipt(t, work, integer, Exception.t() | nil) :: Receipt.t()
  def receipt(account, work, duration, stop) do
    {calls, work} = Map.pop(work, :calls, Quantiles.new())
    {times, work} = Map.split(work, @times)
    ended = account.out + account.skipped + account.routed

    account
    |> Map.from_struct()
    |> Map.merge(work)
    |> Map.merge(quantiles(calls))
    |> Map.merge(%{
      failed: account.in + account.expanded - ended,
      errors: if(stop, do: count_error(stop, account.errors), else: account.errors),
      times: times,
      duration: duration
    })
    |> then(&struct!(Receipt, &1))
  end

  ## Work

  @doc "No work."
  @spec no_work() :: work
  def no_work, do: @no_work

  @doc "The work of two."
  @spec add_work(work, work) :: work
  def add_work(work, more), do: Map.merge(work, more, &sum/3)

  defp sum(:calls, one, other), do: Quantiles.merge(one, other)
  defp sum(_count_or_time, one, other), do: one + other

  @doc "Adds the times of one answer, of a batch that waited so long for a worker."
  @spec add_times(work, integer, Timing.t() | nil) :: work
  def add_times(work, waited, nil), do: %{work | queue: work.queue + waited}

  def add_times(work, waited, timing) do
    %{
      work
      | queue: work.queue + waited + timing.queue,
        encode: work.encode + timing.encode,
        wire: work.wire + timing.wire,
        handler: work.handler + timing.handler,
        decode: work.decode + timing.decode,
        reorder: work.reorder + timing.reader,
        calls: Quantiles.add(work.calls, timing.handler)
    }
  end

  @doc "Where the time went that work tells of, as `Slither.Pipe.status/1` says it."
  @spec spent(work) :: %{times: map, shares: map, p50: integer | nil, p95: integer | nil}
  def spent(%{calls: calls} = work) do
    times = Map.take(work, @times)
    shares = Receipt.shares(times)
    Map.merge(quantiles(calls), %{times: times, shares: shares})
  end

  defp quantiles(calls), do: %{p50: Quantiles.at(calls, 0.5), p95: Quantiles.at(calls, 0.95)}

  ## Errors

  # By kind: the class of an exception, else the error's reason.
  defp count_error(error, errors), do: Map.update(errors, kind(error), 1, &(&1 + 1))

  defp kind(%Error{python: %{type: type}}), do: type
  defp kind(%Error{reason: reason}), do: to_string(reason)

  defp kind(%module{cause: %{__exception__: true} = cause})
       when module in [DispatchError, PipeError],
       do: kind(cause)

  defp kind(%module{reason: reason}) when module in [DispatchError, PipeError],
    do: to_string(reason)

  defp kind(%module{}), do: inspect(module)
  defp kind(_other), do: "error"
end
