defmodule Slither.Dispatch.Executors.SnakeBridge do
  @moduledoc """
  Runs a Python function: `module:` and `function:`, on the pool `pool:`.

  The function is any that can be imported. It takes a list of payloads and returns a list of
  the same length:

      # my_model.py
      def predict_batch(rows: list[dict]) -> list[dict]:
          return [{**row, "score": 0.5} for row in rows]

  With `each: true` it takes one payload, and is called for each of a batch: `module: "math",
  function: "sqrt", each: true`. Its exception fails that item alone.

  Where the SnakeBridge library is loaded, its runtime runs the call instead, without `each:` and `as:`.
  """

  @behaviour Slither.Dispatch.Executor

  alias Slither.Dispatch.Executors.External
  alias Slither.Error

  @impl true
  @spec target(keyword) :: {:ok, [String.t()]} | :external | {:error, Error.t()}
  def target(options) do
    case {options[:module], options[:function]} do
      {nil, _} ->
        {:error, missing(:module, "\"my_model\"")}

      {_, nil} ->
        {:error, missing(:function, "\"predict_batch\"")}

      _ ->
        if External.loaded?(:snakebridge), do: library(options), else: {:ok, target_of(options)}
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
    do: [
      kind(options[:as] || options[:each]),
      to_string(options[:module]),
      to_string(options[:function])
    ]

  defp kind(true), do: "item"
  defp kind(:auto), do: "each"
  defp kind(_list), do: "function"

  defp library(options) do
    if options[:each] in [nil, false] and options[:as] == nil,
      do: :external,
      else:
        {:error,
         %Error{
           reason: :invalid_option,
           message:
             "each: and as: go with Slither's own workers, and the SnakeBridge library is loaded",
           details: %{option: if(options[:as], do: :as, else: :each)}
         }}
  end

  defp missing(option, example) do
    %Error{
      reason: :missing_option,
      message: "the SnakeBridge executor needs #{option}:, such as #{option}: #{example}",
      details: %{option: option}
    }
  end
end
