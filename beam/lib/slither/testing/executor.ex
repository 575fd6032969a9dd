defmodule Slither.Testing.Executor do
  @moduledoc false
  # Runs a function in place of Python: `executor_options: [function: function]`. The process that
  # runs a batch of a pipe under `Slither.Testing` calls it.

  @behaviour Slither.Dispatch.Executor

  alias Slither.{Error, Protocol}

  @impl true
  def execute_batch(items, context, options) do
    function = options[:executor_options][:function]

    with {:ok, payloads} <- cross(Enum.map(items, & &1.payload)),
         results when is_list(results) <- call(function, payloads, context) do
      cross(results)
    else
      {:error, reason} -> {:error, reason}
      other -> {:error, wrong(other)}
    end
  end

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
