defmodule Slither.Pipe.Events do
  @moduledoc false
  # What a run tells of itself: its events, and the account they carry.

  alias Slither.Receipt
  alias Slither.Run.{Account, Flow, Queue}
  alias Slither.Telemetry.Events

  @doc "A run begins."
  @spec started(Slither.Run.Engine.t()) :: :ok
  def started(engine), do: Events.run_started(:pipe, facts(engine))

  @doc "A stage gets its first entries."
  @spec begun(Slither.Run.Engine.t(), non_neg_integer) :: Slither.Run.Engine.t()
  def begun(engine, index) do
    if is_map_key(engine.stage_started, index) do
      engine
    else
      stage = Enum.at(engine.definition.stages, index)
      Events.stage_started(stage_facts(engine, stage))
      started = Map.put(engine.stage_started, index, System.monotonic_time())
      %{engine | stage_started: started}
    end
  end

  @doc "The account of the run, and of the error that ended it if there was one."
  @spec account(Slither.Run.Engine.t(), Exception.t() | nil) :: Receipt.t()
  def account(engine, error) do
    now = System.monotonic_time()

    stages =
      for {stage, index} <- Enum.with_index(Tuple.to_list(engine.stages)) do
        work = if is_struct(stage, Queue), do: Flow.work(stage.flow), else: Receipt.no_work()
        {stage.name, work, now - Map.get(engine.stage_started, index, now)}
      end

    Account.close(engine.tally, stages, now - engine.started, error)
  end

  @doc "A run ends, with the error that ended it if there was one."
  @spec finished(Slither.Run.Engine.t(), Receipt.t(), Exception.t() | nil) :: :ok
  def finished(engine, receipt, error) do
    failed_stage = error && Map.get(error, :stage)

    for {index, _started} <- engine.stage_started do
      stage = Enum.at(engine.definition.stages, index)
      {_name, part} = Enum.at(receipt.stages, index)
      error = if stage.name == failed_stage, do: error
      Events.stage_ended(part, stage_facts(engine, stage), error)
    end

    Events.run_ended(:pipe, receipt, facts(engine), error)
  end

  defp facts(engine), do: %{run: engine.context.runtime.run, pipe: engine.definition.name}

  defp stage_facts(engine, stage),
    do: Map.merge(facts(engine), %{stage: stage.name, type: stage.type})
end
