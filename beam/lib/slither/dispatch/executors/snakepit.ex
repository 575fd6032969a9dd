defmodule Slither.Dispatch.Executors.Snakepit do
  @moduledoc """
  Runs a command: a Python handler registered under a name, `command:`, on the pool `pool:`.

      # handlers.py, named in the pool's preload: ["handlers"]
      from slither.worker import batch_handler

      @batch_handler("embed")
      def embed(texts: list[str]) -> list[list[float]]:
          return [[float(len(text))] for text in texts]

  Where the Snakepit library is loaded, its pool runs the command instead, with the arguments
  `%{"items" => payloads}`; the answer is a list, or a map with a list under `"results"`.
  """

  @behaviour Slither.Dispatch.Executor

  alias Slither.Dispatch.Executors.External
  alias Slither.Error
  alias Slither.Python.Limit

  @impl true
  @spec target(keyword) :: {:ok, [String.t()]} | :external | {:error, Error.t()}
  def target(options) do
    cond do
      options[:command] == nil -> {:error, missing()}
      options[:each] not in [nil, false] -> {:error, no_each()}
      External.loaded?(:snakepit) -> :external
      true -> {:ok, ["command", to_string(options[:command])]}
    end
  end

  @impl true
  @spec execute_batch([Slither.Item.t(), ...], Slither.Context.t(), keyword) ::
          {:ok, [term]} | {:error, term}
  def execute_batch(items, context, options) do
    External.execute(target(options), {items, context, options}, fn payloads ->
      command = to_string(options[:command])
      item = options[:item_timeout] || :infinity
      whole = Limit.whole(options[:timeout], item, length(payloads))
      timeout = with {time, _facts} <- whole, do: time, else: (nil -> :infinity)
      {Snakepit, :execute, [command, %{"items" => payloads}, [timeout: timeout]]}
    end)
  end

  defp no_each do
    %Error{
      reason: :invalid_option,
      message:
        "each: goes with module: and function:; a command says by its decorator, item_handler or " <>
          "batch_handler, what it takes",
      details: %{option: :each}
    }
  end

  defp missing do
    %Error{
      reason: :missing_option,
      message: "the Snakepit executor needs command:, the name of a registered handler",
      details: %{option: :command}
    }
  end
end
