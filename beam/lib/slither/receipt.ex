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

  `times` are summed over batches, in native units, and do not overlap: `rate` (waiting for the tokens
  of a `rate:`, there or behind other batches of the run), `queue` (waiting for a
  worker, and there behind other calls), `encode` and `decode` (by both sides), `wire` (to the worker
  and back), `handler` (and all of a call that failed), `reorder` (waiting for the turn of its batch,
  and handlers that wait for whoever reads their results). `p50` and `p95` are what half of the calls,
  and 95 in 100, took of the handler's time at most; on BEAM they are of items, where these are handled
  one by one. They are nil where nothing ran. `duration` is the run's, and `name` is the pipe's, or what a
  dispatch calls. `stages` holds the same by stage, in order; a stage's `in` counts what reached it.

  A receipt prints as a table, whose last line names what holds the run up, and what to try:

      IO.puts(receipt)

  `errors` counts the errors that met an error policy, those of retries that mended it left out,
  and the one that stopped the run, by kind: the class of an exception, else the error's reason.

      %{"ValueError" => 3, "timeout" => 1} = receipt.errors
  """

  alias Slither.Metrics.Definitions
  alias Slither.Receipt.Table

  @no_time Map.new(Definitions.phases(), &{&1, 0})

  defstruct name: nil,
            in: 0,
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
            p50: nil,
            p95: nil,
            errors: %{},
            stages: []

  @type errors :: %{optional(String.t()) => pos_integer}

  @type t :: %__MODULE__{
          name: atom | String.t() | nil,
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
          p50: non_neg_integer | nil,
          p95: non_neg_integer | nil,
          errors: errors,
          stages: [{atom | String.t(), t}]
        }

  @doc """
  The receipt as a table: a row for each stage, with how many of its items failed, its calls, the
  handler's time in half of them (`p50`) and in 95 of 100 (`p95`), and the share that each phase has of
  its time. The last line names the bottleneck.

      {:ok, _items, receipt} = Slither.dispatch(items, options ++ [receipt: true])
      IO.puts(Slither.Receipt.table(receipt))

  As a receipt prints like this by itself, `IO.puts(receipt)` does the same.

      iex> Slither.Receipt.table(%Slither.Receipt{in: 3, out: 3})
      ...> |> String.split("\\n")
      ...> |> hd()
      "3 items in 0 µs, 3 out"
  """
  @spec table(t) :: String.t()
  def table(%__MODULE__{} = receipt), do: Table.of(receipt)

  @doc """
  The share that each of the `times` has, from 0 to 1.

      iex> Slither.Receipt.shares(%{handler: 30, wire: 10})
      %{rate: 0.0, queue: 0.0, encode: 0.0, wire: 0.25, handler: 0.75, decode: 0.0, reorder: 0.0}
  """
  @spec shares(%{optional(atom) => non_neg_integer}) :: %{atom => float}
  def shares(times), do: Table.shares(times)

  defimpl String.Chars do
    def to_string(receipt), do: Slither.Receipt.table(receipt)
  end

  @doc false
  # As the measurements of an event.
  @spec measurements(t) :: map
  def measurements(receipt) do
    receipt
    |> Map.from_struct()
    |> Map.drop([:name, :times, :errors, :stages, :p50, :p95])
    |> Map.merge(receipt.times)
  end
end
