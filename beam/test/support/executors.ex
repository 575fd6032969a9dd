defmodule Slither.Test.FunExecutor do
  @moduledoc false
  # Runs `executor_options: [fun: f]` on a batch's payloads, in place of Python.
  @behaviour Slither.Dispatch.Executor

  @impl true
  def execute_batch(items, _context, options),
    do: options[:executor_options][:fun].(Enum.map(items, & &1.payload))
end

defmodule Slither.Test.OptionsExecutor do
  @moduledoc false
  # Tells `test:` which options it was given.
  @behaviour Slither.Dispatch.Executor

  @impl true
  def execute_batch(items, _context, options) do
    send(options[:test], {:options, options})
    {:ok, Enum.map(items, & &1.payload)}
  end
end

defmodule Slither.Test.GateExecutor do
  @moduledoc false
  # Announces each batch to `executor_options: [test: pid]` and answers when released, so that
  # a test sees exactly how many batches are out.
  @behaviour Slither.Dispatch.Executor

  @impl true
  def execute_batch(items, context, options) do
    payloads = Enum.map(items, & &1.payload)
    send(options[:executor_options][:test], {:entered, context.stage, self(), payloads})

    receive do
      {:release, reply} -> reply
      :release -> {:ok, payloads}
    end
  end
end
