defmodule Slither.Testing.Executor do
  @moduledoc false
  # Runs a function in place of Python: `executor_options: [function: function]`. The process that
  # runs a batch of a pipe under `Slither.Testing` calls it.

  @behaviour Slither.Dispatch.Executor

  alias Slither.{Error, Protocol}

  @impl true
  def execute_batch(items, context, options) do
    function = options[:executor_options][:function]

    many? = options[:cardinality] == :many

    if options[:each] == true,
      do: each(items, function, context, many?),
      else: batch(items, function, context, many?)
  end

  # A function of one payload, whose exception fails that item alone.
  defp each(items, function, context, many?) do
    {results, errors} =
      items
      |> Enum.map(&alone(&1.payload, function, context, many?))
      |> Enum.with_index()
      |> Enum.reduce({[], %{}}, fn
        {{:ok, result}, _index}, {results, errors} ->
          {[result | results], errors}

        {{:error, error}, index}, {results, errors} ->
          {[nil | results], Map.put(errors, index, error)}
      end)

    {:ok, Enum.reverse(results), errors}
  end

  defp alone(payload, function, context, many?) do
    with {:ok, [payload]} <- cross([payload]),
         {:ok, result} <- one(function, payload, context, many?),
         {:ok, [result]} <- cross([result]),
         do: {:ok, result}
  end

  defp one(function, payload, context, many?) do
    case call(function, payload, context) do
      {:error, %Error{} = error} -> {:error, error}
      {:error, reason} -> {:error, failed(inspect(reason))}
      result -> {:ok, listed(result, many?)}
    end
  rescue
    exception -> {:error, failed(Exception.format(:error, exception, __STACKTRACE__))}
  end

  defp failed(text), do: %Error{reason: :executor_failed, message: "the function failed: #{text}"}

  defp batch(items, function, context, many?) do
    with {:ok, payloads} <- cross(Enum.map(items, & &1.payload)),
         results when is_list(results) <- call(function, payloads, context) do
      cross(Enum.map(results, &listed(&1, many?)))
    else
      {:error, reason} -> {:error, reason}
      other -> {:error, wrong(other)}
    end
  end

  # Where an item has many values, they may be a stream, as a Python function may yield them.
  defp listed(result, true) when is_function(result, 2) or is_struct(result),
    do: if(Enumerable.impl_for(result), do: Enum.to_list(result), else: result)

  defp listed(result, _many?), do: result

  defp call(function, payloads, _context) when is_function(function, 1), do: function.(payloads)
  defp call(function, payloads, context), do: function.(payloads, context)

  defp cross(values) do
    Enum.reduce_while(values, {:ok, []}, fn value, {:ok, crossed} ->
      with {:ok, bytes} <- Protocol.pack(value), {:ok, value} <- Protocol.unpack(bytes) do
        {:cont, {:ok, [value | crossed]}}
      else
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
    |> then(fn
      {:ok, crossed} -> {:ok, Enum.reverse(crossed)}
      error -> error
    end)
  end

  defp wrong(other) do
    %Error{
      reason: :wrong_result,
      message: "the function returned #{inspect(other, limit: 5)}, not a list",
      hint: "return one result for each payload, in order"
    }
  end
end
