defmodule Slither.Driver.Executor do
  @moduledoc false
  # Runs what a driver names: `executor_options: [target: target]`, as in a call frame. Maps of a
  # driver have it for their executor; batches go to the pool by way of `target/1`.

  @behaviour Slither.Dispatch.Executor

  alias Slither.Dispatch.Executors.External

  @impl true
  def target(options), do: {:ok, options[:executor_options][:target]}

  @impl true
  def execute_batch(items, context, options),
    do: External.execute(target(options), {items, context, options})
end
