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

  ## Many values for each item

  With `cardinality: :many` the function gives a list, or an iterator that may be asynchronous, in
  place of each result: to cut documents into pieces, or to keep only some items. Each value becomes
  an item whose `id` is `{id, index}`, with the `id` of the item that it was made of; an item
  without any is dropped, and counted as skipped. The order is that of the input.

      # cut.py
      def pieces(texts: list[str]) -> list[list[str]]:
          return [text.split() for text in texts]

      {:ok, words} =
        Slither.Dispatch.run(["two words", "one"], module: "cut", function: "pieces", cardinality: :many)

  A worker draws some 1,000 values at a time, and the next of an item's only once the last are
  taken, so an item may have any number of them; `timeout` counts for each time. Stopping early, or
  an error, closes iterators that have begun. An item that fails after some values has given these,
  and then falls under `on_error`: it is tried again only if it gave none. If its worker ends, the
  item whose values it drew has failed, and those behind it go to another worker.

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

  alias Slither.Dispatch.Run
  alias Slither.{Item, Receipt}
  alias Slither.Run.{Heap, Reader}

  @type result ::
          {:ok, [Item.t()]}
          | {:error, Exception.t(), [Item.t()]}
          | {:ok, [Item.t()], Receipt.t()}
          | {:error, Exception.t(), [Item.t()], Receipt.t()}

  @doc """
  Runs all items; returns their results in order.

  `{:ok, items}`, or `{:error, error, partial}`: the `Slither.DispatchError` of the first
  failure under `:halt` and the results before it, or a `Slither.Error` for options, pools and
  workers that can't be used. With `receipt: true` either has a `Slither.Receipt` as its last
  element.
  """
  @spec run(Enumerable.t(), keyword) :: result
  def run(items, options) do
    Heap.for_results(items, fn ->
      with {:ok, run} <- Run.open(items, options, false),
           {:ok, results, receipt} <- Reader.collect(run, [], &next/2, &Run.close/2) do
        Reader.answer({:ok, Enum.reverse(results)}, receipt, options)
      else
        {:error, error} ->
          Reader.answer({:error, error, []}, %Receipt{}, options)

        {:error, error, results, receipt} ->
          Reader.answer({:error, error, Enum.reverse(results)}, receipt, options)
      end
    end)
  end

  defp next(run, results) do
    Heap.grow(run.next)
    Run.next(run, results)
  end

  @doc """
  Results as they come, lazily: nothing is pulled or sent before the stream is read.

  Raises the error that `run/2` would return. Stopping early frees the workers.

  One process reads it: another that goes on with a stream that was suspended gets a
  `Slither.Error` of the reason `:other_process`.
  """
  @spec stream(Enumerable.t(), keyword) :: Enumerable.t()
  def stream(items, options) do
    open = fn -> Run.open(items, options, true) end
    Reader.stream("Slither.Dispatch.stream/2", open, &read/1, &Run.close/2)
  end

  defp read(run) do
    case Run.next(run, []) do
      {:more, results, run} -> {:more, Enum.reverse(results), run}
      {:done, run} -> {:done, run}
      {:halted, results, error, run} -> {:halted, Enum.reverse(results), error, run}
    end
  end

  @doc """
  Runs the items as one batch, in one call.

  Takes the options of `run/2` and returns the same.
  """
  @spec call_batch(Enumerable.t(), keyword) :: result
  def call_batch(items, options) do
    with true <- Keyword.keyword?(options), :ok <- Run.enumerable(items) do
      items = Enum.to_list(items)
      one = [batch_size: max(1, length(items)), max_in_flight: 1]
      run(items, options |> Keyword.drop([:strategy]) |> Keyword.merge(one))
    else
      # It says what is wrong with them.
      _ -> run(items, options)
    end
  end
end
