defmodule Slither.Dispatch.Executor do
  @moduledoc """
  What runs a batch.

  `c:execute_batch/3` takes the batch's items, the `Slither.Context` and the dispatch's options,
  and returns `{:ok, results}` with one payload for each item, in order, or `{:error, reason}`. A
  result may be an item as well, which then takes the place of the one that was given. With
  `{:ok, results, errors}`, single items fail: `errors` is a map of exceptions by the places of their
  results, from 0. It runs in
  a process of its own, which is killed when `timeout` has passed; an exception is an error of the
  batch. `{:error, reason}` fails the batch with `:executor_failed`, and the error's `cause` has the
  reason in its `details`.

  Options that a dispatch or stage does not know are the executor's: it gets them among the others,
  and in `executor_options`.

      defmodule Upcase do
        @behaviour Slither.Dispatch.Executor
        @impl true
        def execute_batch(items, _context, _options),
          do: {:ok, Enum.map(items, &String.upcase(&1.payload))}
      end

  The built-in executors, `Slither.Dispatch.Executors.SnakeBridge` and `.Snakepit`, also say
  with `c:target/1` what a worker is to run; a dispatch then hands their batches straight to
  the pool, without a process for each.
  """

  alias Slither.{Context, Error, Item}

  @callback execute_batch(items :: [Item.t(), ...], Context.t(), options :: keyword) ::
              {:ok, [term | Item.t()]}
              | {:ok, [term | Item.t()], %{optional(non_neg_integer) => Exception.t()}}
              | {:error, term}

  @doc "The call's target for a worker, or `:external` where another library runs it."
  @callback target(options :: keyword) :: {:ok, [String.t()]} | :external | {:error, Error.t()}

  @optional_callbacks target: 1
end
