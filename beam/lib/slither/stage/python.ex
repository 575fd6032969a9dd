defmodule Slither.Stage.Python do
  @moduledoc """
  A stage that runs batches on Python workers.

      stage :predict, :python, module: "my_model", function: "predict_batch", batch_size: 32

  Its options are those of `Slither.Dispatch`, except `on_error`, `session_id`, `metadata` and
  `receipt`, which belong to the pipe and its run.
  """

  @behaviour Slither.Stage.Type

  alias Slither.Dispatch.Executors.{SnakeBridge, Snakepit}
  alias Slither.Dispatch.Settings
  alias Slither.Error

  @not_here [:on_error, :session_id, :metadata, :receipt]

  @impl true
  @doc false
  @spec options() :: Slither.Options.table()
  def options, do: Keyword.drop(Settings.table(), @not_here)

  @impl true
  @doc false
  @spec check(term, String.t()) :: {:ok, keyword} | {:error, Error.t()}
  def check(options, where) do
    with :ok <- misplaced(options, where),
         {:ok, options} <- Settings.check(options, where),
         :ok <- target(options),
         do: {:ok, options}
  end

  defp misplaced(options, where) when is_list(options) do
    case Enum.find(@not_here, &List.keymember?(options, &1, 0)) do
      nil ->
        :ok

      option ->
        place =
          if option == :on_error,
            do: "write on_error STAGE, POLICY below the stages",
            else: "give it to Slither.run_pipe/3"

        message = "option #{inspect(option)} belongs to the pipe: #{place}"
        {:error, %Error{reason: :unknown_option, message: message, where: where}}
    end
  end

  defp misplaced(_options, _where), do: :ok

  # What our own executors need is known before there is a pool.
  defp target(options) do
    with true <- options[:executor] in [SnakeBridge, Snakepit],
         {:error, error} <- options[:executor].target(options),
         do: {:error, error},
         else: (_runnable -> :ok)
  end
end
