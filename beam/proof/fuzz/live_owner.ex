defmodule Slither.Proof.Fuzz.LiveOwner do
  @moduledoc false
  # Frames against a live port owner: workers that write junk, in a pool that runs a dispatch.
  # Each item is a frame, which its worker writes before it answers. The owner ends that worker,
  # or takes the frame; either way the item has an outcome, and the pool goes on.

  alias Slither.{Bytes, DispatchError, Error}
  alias Slither.Proof.{Events, Processes}
  alias Slither.Proof.Fuzz.{Decoder, Mutator, Tally}
  alias Slither.Python.{Environment, Pool}

  @worker Path.expand("../python/junk_worker.py", __DIR__)
  @workers 2
  @ping <<0x92, 12, 1>>
  @patience 10_000

  @doc "Hands `count` frames to owners; what came of them, and what is wrong with the pool after."
  @spec run(tuple, pos_integer, integer) :: %{tally: Tally.t(), wrong: [String.t()]}
  def run(corpus, count, seed) do
    :rand.seed(:exsss, seed)
    {:ok, python} = Environment.interpreter(nil)
    {interpreter, folder} = Processes.interpreter("exec '#{python}' -I -S '#{@worker}'")
    token = Processes.token()
    pool = :"fuzz_live_#{System.unique_integer([:positive])}"
    events = Events.start(pool)
    base = [name: pool, size: @workers, python: interpreter, env: Processes.env(token)]
    # Junk workers know no shutdown.
    {:ok, supervisor} = Pool.start_link([shutdown: 1] ++ base)
    :ok = Pool.await_ready(pool)
    # One that is taken for certain, however few there are.
    frames = [@ping | Enum.map(2..count//1, fn _ -> Mutator.frame(corpus) end)]

    {tally, answered} =
      frames
      |> Stream.map(&item/1)
      |> Slither.Dispatch.stream(dispatch(pool))
      |> Enum.zip(frames)
      |> Enum.reduce({%Tally{}, 0}, &outcome/2)

    alive = alive(pool)
    :ok = Supervisor.stop(supervisor)
    {left, _ms} = Processes.await_none(token, @patience)
    File.rm_rf!(folder)
    facts = %{count: count, answered: answered, alive: alive, left: left}
    %{tally: tally, wrong: wrong(facts, Events.stop(events))}
  end

  defp item(frame), do: Bytes.new("fuzz:" <> frame <> ":fuzz")

  defp dispatch(pool) do
    [
      pool: pool,
      module: "m",
      function: "f",
      batch_size: 1,
      max_in_flight: 2 * @workers,
      timeout: 60_000,
      on_error: :skip
    ]
  end

  defp outcome({%{meta: %{error: error}}, body}, {tally, answered}) do
    case error do
      %DispatchError{reason: reason, cause: %Error{message: why}}
      when is_binary(why) and why != "" and reason != :worker_died ->
        {Tally.add(tally, {:refused, "#{reason}: #{short(why)}"}), answered + 1}

      other ->
        {Tally.broken(tally, body, Exception.message(other)), answered + 1}
    end
  end

  defp outcome({_item, _body}, {tally, answered}), do: {Tally.add(tally, :taken), answered + 1}

  defp short(why),
    do: why |> String.split(" broke the protocol: ") |> List.last() |> Decoder.class()

  # A call that was never fuzzed: the pool has workers that answer. A worker whose last results
  # turn out to be junk ends with the call that it has begun since: each may take one along.
  defp alive(pool, left \\ @workers) do
    case Pool.call(pool, ["function", "m", "f"], [item(@ping)]) do
      {:ok, ["ok"], _errors} -> :ok
      {:error, %{reason: :protocol_error}} when left > 0 -> alive(pool, left - 1)
      {:error, error} -> Exception.message(error)
    end
  end

  # An owner that crashes leaves a worker that came up and never went down.
  defp wrong(facts, events) do
    ended = for {:down, _, _, %{reason: reason}} <- events, reason != :shutdown, do: reason
    up = Enum.count(events, &match?({:up, _, _, _}, &1))
    alive = up - length(ended)

    for {true, why} <- [
          {facts.answered != facts.count, "#{facts.answered} outcomes for #{facts.count} frames"},
          {facts.alive != :ok, "the pool does not go on: #{inspect(facts.alive)}"},
          {facts.left != [], "processes are left: #{inspect(facts.left)}"},
          {alive not in 0..@workers, "#{alive} of #{@workers} workers never went down"}
        ],
        do: why
  end
end
