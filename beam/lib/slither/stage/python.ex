defmodule Slither.Stage.Python do
  @moduledoc """
  A stage that runs batches on Python workers.

      stage :predict, :python, module: "my_model", function: "predict_batch", batch_size: 32

  Its options are those of `Slither.Dispatch`, except `on_error`, `session_id`, `metadata` and
  `receipt`, which belong to the pipe and its run.
  """

  @not_here [:on_error, :session_id, :metadata, :receipt]

  @doc false
  @spec names() :: [atom]
  def names, do: Slither.Dispatch.Settings.names() -- @not_here

  @doc false
  @spec not_here() :: [atom]
  def not_here, do: @not_here
end
