defmodule Slither.Stage.Expression do
  @moduledoc false
  # A beam stage of a document, run in the process of the run: an expression gives the new payload,
  # or with `many` the payloads of many items. With `check` the item goes on as it is if the check
  # finds the value right: a batcher computes the value again, where no item can fail alone.

  @behaviour Slither.Stage

  alias Slither.{Error, Expression}

  @impl true
  @spec init(keyword) :: {:ok, map}
  def init(options), do: {:ok, Map.merge(%{many: false, check: nil}, Map.new(options))}

  @impl true
  @spec handle_item(Slither.Item.t(), Slither.Context.t(), map) :: Slither.Stage.answer()
  def handle_item(item, _context, state) do
    case Expression.eval(state.expression, item.payload) do
      {:ok, value} -> answer(value, item, state)
      other -> other
    end
  end

  defp answer(value, item, %{check: check} = state) when check != nil do
    case check.(value) do
      :ok -> {:ok, item.payload}
      {:error, message} -> failed(state, message)
    end
  end

  defp answer(values, _item, %{many: true}) when is_list(values), do: {:many, values}
  defp answer(_value, _item, %{many: true} = state), do: failed(state, "many items need a list")
  defp answer(value, _item, _state), do: {:ok, value}

  defp failed(%{expression: expression}, message) do
    details = %{expression: expression.text, kind: :type}
    message = "#{expression.text}: #{message}"
    {:error, %Error{reason: :expression, message: message, details: details}}
  end
end
