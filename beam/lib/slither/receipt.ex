defmodule Slither.Receipt do
  @moduledoc """
  The account of a run: what became of every item, and where the time went.

      {:ok, items, receipt} = Slither.dispatch(1..100, options ++ [receipt: true])

  In every receipt `in + expanded = out + skipped + routed + failed`:

    * `in`: items taken from the input;
    * `expanded`: items that stages made beyond those they took; a `:batch` stage that makes one
      of n counts as `1 - n`;
    * `out`: items that went well, whichever output they reached;
    * `skipped`, `routed`: what handlers dropped and what error policies dropped or sent away;
    * `failed`: all that reached no end, because the run stopped.

  Beyond that, `batches` (calls made), `retries`, `splits` (by `isolate: true`), `requeues`
  (calls that a worker's death gave back unbegun), and three counts of answers that were never
  mixed into results: `late` (its batch was given up), `duplicate` (its batch was answered) and
  `short` (not one result for each item).

  `times` are summed over batches, in native units, and do not overlap: `queue` (waiting for a
  worker), `encode`, `wire` (to the worker and back,
  and handlers that wait for their reader), `handler`, `decode`, `reorder` (waiting for
  the turn of its batch). `duration` is the run's. `stages` holds the same by stage, in order;
  a stage's `in` counts what reached it.

  `errors` counts the errors that met an error policy, those of retries that mended it left out,
  and the one that stopped the run, by kind: the class of an exception, else the error's reason.

      %{"ValueError" => 3, "timeout" => 1} = receipt.errors
  """

  alias Slither.{DispatchError, Error, PipeError}

  @times [:queue, :encode, :wire, :handler, :decode, :reorder]
  @work [:batches, :retries, :splits, :requeues, :late, :duplicate, :short]
  @no_time Map.new(@times, &{&1, 0})

  defstruct in: 0,
            expanded: 0,
            out: 0,
            skipped: 0,
            routed: 0,
            failed: 0,
            batches: 0,
            retries: 0,
            splits: 0,
            requeues: 0,
            late: 0,
            duplicate: 0,
            short: 0,
            duration: 0,
            times: @no_time,
            errors: %{},
            stages: []

  @type errors :: %{optional(String.t()) => pos_integer}

  @type t :: %__MODULE__{
          in: non_neg_integer,
          expanded: integer,
          out: non_neg_integer,
          skipped: non_neg_integer,
          routed: non_neg_integer,
          failed: non_neg_integer,
          batches: non_neg_integer,
          retries: non_neg_integer,
          splits: non_neg_integer,
          requeues: non_neg_integer,
          late: non_neg_integer,
          duplicate: non_neg_integer,
          short: non_neg_integer,
          duration: non_neg_integer,
          times: %{optional(atom) => non_neg_integer},
          errors: errors,
          stages: [{atom | String.t(), t}]
        }

  @doc false
  # What batches add to an account, at zero.
  @spec no_work() :: map
  def no_work, do: Map.merge(Map.new(@work, &{&1, 0}), @no_time)

  @doc false
  @spec add_work(map, map) :: map
  def add_work(work, more), do: Map.merge(work, more, fn _key, a, b -> a + b end)

  @doc false
  # Adds the times of one answer; the handler's is part of what a lane sees on the wire.
  @spec add_times(map, integer, map | nil) :: map
  def add_times(work, queue, nil), do: %{work | queue: work.queue + queue}

  def add_times(work, queue, times) do
    %{
      work
      | queue: work.queue + queue,
        encode: work.encode + times.encode,
        wire: work.wire + max(times.wire - times.handler, 0),
        handler: work.handler + times.handler,
        duplicate: work.duplicate + times.duplicate,
        decode: work.decode + times.decode
    }
  end

  @doc false
  # The receipt of counts and work; whatever reached no end has failed.
  @spec new(map, map, integer) :: t
  def new(counts, work, duration) do
    {times, work} = Map.split(work, @times)
    ended = counts.out + counts.skipped + counts.routed

    struct!(
      __MODULE__,
      counts
      |> Map.merge(work)
      |> Map.merge(%{
        failed: counts.in + counts.expanded - ended,
        times: times,
        duration: duration
      })
    )
  end

  @doc false
  @spec add_error(errors, term) :: errors
  def add_error(errors, error), do: Map.update(errors, kind(error), 1, &(&1 + 1))

  @doc false
  @spec add_errors(errors, errors) :: errors
  def add_errors(errors, more), do: Map.merge(errors, more, fn _kind, a, b -> a + b end)

  @doc false
  # Beside those of single items, what stopped the run.
  @spec put_errors(t, errors, Exception.t() | nil) :: t
  def put_errors(receipt, errors, nil), do: %{receipt | errors: errors}
  def put_errors(receipt, errors, stop), do: %{receipt | errors: add_error(errors, stop)}

  defp kind(%Error{python: %{type: type}}), do: type
  defp kind(%Error{reason: reason}), do: to_string(reason)

  defp kind(%module{cause: %{__exception__: true} = cause})
       when module in [DispatchError, PipeError],
       do: kind(cause)

  defp kind(%module{reason: reason}) when module in [DispatchError, PipeError],
    do: to_string(reason)

  defp kind(%module{}), do: inspect(module)
  defp kind(_other), do: "error"

  @doc false
  # As the measurements of an event.
  @spec measurements(t) :: map
  def measurements(receipt) do
    receipt
    |> Map.from_struct()
    |> Map.drop([:times, :errors, :stages])
    |> Map.merge(receipt.times)
  end
end
