defmodule Slither.Dispatch.Executors.SnakeBridge do
  @moduledoc """
  Runs a Python function: `module:` and `function:`, on the pool `pool:`.

  The function is any that can be imported. It takes a list of payloads and returns a list of
  the same length:

      # my_model.py
      def predict_batch(rows: list[dict]) -> list[dict]:
          return [{**row, "score": 0.5} for row in rows]

  Where the SnakeBridge library is loaded, its runtime runs the call instead.
  """

  @behaviour Slither.Dispatch.Executor

  alias Slither.Dispatch.Executors.External
  alias Slither.Error

  @impl true
  @spec target(keyword) :: {:ok, [String.t()]} | :external | {:error, Error.t()}
  def target(options) do
    case {options[:module], options[:function]} do
      {nil, _} -> {:error, missing(:module, "\"my_model\"")}
      {_, nil} -> {:error, missing(:function, "\"predict_batch\"")}
      _ -> if External.loaded?(:snakebridge), do: :external, else: {:ok, target_of(options)}
    end
  end

  @impl true
  @spec execute_batch([Slither.Item.t(), ...], Slither.Context.t(), keyword) ::
          {:ok, [term]} | {:error, term}
  def execute_batch(items, context, options) do
    External.execute(target(options), {items, context, options}, fn payloads ->
      arguments = [to_string(options[:module]), to_string(options[:function]), [payloads]]
      {SnakeBridge, :call, arguments}
    end)
  end

  defp target_of(options),
    do: ["function", to_string(options[:module]), to_string(options[:function])]

  defp missing(option, example) do
    %Error{
      reason: :missing_option,
      message: "the SnakeBridge executor needs #{option}:, such as #{option}: #{example}",
      details: %{option: option}
    }
  end
end
