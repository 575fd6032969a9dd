defmodule Slither.Run.Execute do
  @moduledoc false
  # Runs one batch by an executor of the user's own, in the process that `Carrier.Local` has started
  # for it, and makes an outcome of whatever it does.

  alias Slither.{Context, DispatchError, Error, Item}
  alias Slither.Python.{Outcome, Timing}
  alias Slither.Run.{Answer, Batch}

  @doc "The outcome of a batch's entries; the executor gets their items, the context and the options."
  @spec run(module, [Batch.entry(), ...], Context.t(), keyword) :: Outcome.t()
  def run(executor, entries, context, options) do
    items = for {_seq, item} <- entries, do: item
    started = System.monotonic_time()
    result = executor.execute_batch(items, context, options)
    timing = %Timing{handler: System.monotonic_time() - started}

    case result do
      # An improper list has no length.
      {:ok, results} when length(results) >= 0 -> results(executor, results, timing)
      {:ok, results, errors} when length(results) >= 0 -> some(executor, results, errors, timing)
      {:error, %DispatchError{cause: %Error{} = error}} -> Outcome.error(error, timing)
      {:error, %Error{} = error} -> Outcome.error(error, timing)
      {:error, reason} -> Outcome.error(failed(executor, inspect(reason), reason), timing)
      other -> Outcome.error(bad_return(executor, other), timing)
    end
  rescue
    exception ->
      text = Exception.format(:error, exception, __STACKTRACE__)
      Outcome.error(failed(executor, text, exception), nil)
  catch
    kind, value ->
      text = Exception.format(kind, value, __STACKTRACE__)
      Outcome.error(failed(executor, text, {kind, value}), nil)
  end

  defp some(executor, results, errors, timing) do
    last = length(results) - 1

    if is_map(errors) and
         Enum.all?(errors, fn {at, error} -> at in 0..last//1 and is_exception(error) end),
       do: %{results(executor, results, timing) | errors: errors},
       else: Outcome.error(bad_return(executor, {:ok, results, errors}), timing)
  end

  # What comes after adds facts to an item's meta, outside of any policy.
  defp results(executor, results, timing) do
    case Enum.find(results, &match?(%Item{meta: meta} when not is_map(meta), &1)) do
      nil -> Outcome.ok(results, %{}, timing)
      item -> Outcome.error(bad_item(executor, item), timing)
    end
  end

  defp failed(executor, text, reason) do
    %Error{
      reason: :executor_failed,
      message: "#{inspect(executor)} failed: #{text}",
      details: %{reason: reason}
    }
  end

  defp bad_item(executor, item) do
    %Error{
      reason: :wrong_result,
      message:
        "#{inspect(executor)}.execute_batch/3 gave an item whose meta is " <>
          "#{Answer.short(item.meta)}, not a map"
    }
  end

  defp bad_return(executor, other) do
    %Error{
      reason: :wrong_result,
      message:
        "#{inspect(executor)}.execute_batch/3 returned #{inspect(other, limit: 5)}; " <>
          "it returns {:ok, results}, {:ok, results, errors} or {:error, reason}"
    }
  end
end
