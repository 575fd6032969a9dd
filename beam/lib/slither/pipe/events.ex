defmodule Slither.Pipe.Events do
  @moduledoc false
  # What a run tells of itself: its events, and the account they carry.

  alias Slither.{Receipt, Telemetry}
  alias Slither.Run.{Account, Queue}

  @doc "A run begins."
  @spec started(Slither.Run.Engine.t()) :: :ok
  def started(engine), do: event(engine, :start, %{system_time: System.system_time()}, %{})

  @doc "A stage gets its first entries."
  @spec begun(Slither.Run.Engine.t(), non_neg_integer) :: Slither.Run.Engine.t()
  def begun(engine, index) do
    if is_map_key(engine.stage_started, index) do
      engine
    else
      stage = Enum.at(engine.definition.stages, index)
      times = %{system_time: System.system_time()}
      Telemetry.execute([:slither, :pipe, :stage, :start], times, stage_facts(engine, stage))
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
        work = if is_struct(stage, Queue), do: stage.flow.work, else: Receipt.no_work()
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
      measurements = Receipt.measurements(part)
      facts = stage_facts(engine, stage)

      if stage.name == failed_stage,
        do: stage_event(:exception, measurements, Map.merge(facts, reason(error))),
        else: stage_event(:stop, measurements, facts)
    end

    measurements = Receipt.measurements(receipt)

    if error,
      do: event(engine, :exception, measurements, reason(error)),
      else: event(engine, :stop, measurements, %{})
  end

  defp stage_event(name, measurements, metadata),
    do: Telemetry.execute([:slither, :pipe, :stage, name], measurements, metadata)

  defp event(engine, name, measurements, more) do
    facts = Map.merge(%{run: engine.context.runtime.run, pipe: engine.definition.name}, more)
    Telemetry.execute([:slither, :pipe, :run, name], measurements, facts)
  end

  defp stage_facts(engine, stage) do
    %{
      run: engine.context.runtime.run,
      pipe: engine.definition.name,
      stage: stage.name,
      type: stage.type
    }
  end

  defp reason(error), do: %{reason: Map.get(error, :reason, :raised), error: error}
end
