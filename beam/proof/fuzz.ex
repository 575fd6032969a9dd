defmodule Slither.Proof.Fuzz do
  @moduledoc false
  # Mutated and random frames into the decoder and the state machine of each side, then into a
  # live worker and a live port owner. Each is taken, or refused with a reason; nothing crashes.
  # Python's half is python/tests/fuzz.py, which runs beside BEAM's.

  alias Slither.Proof
  alias Slither.Proof.Fuzz.{Decoder, LiveOwner, LiveWorker, Mutator, Owner, Tally}
  alias Slither.Proof.Peak

  @options [
    frames: {1_000_000, "frames for each side's decoder and state machine"},
    live: {10_000, "frames for a live worker, and for a live port owner"},
    seed: {nil, "what is random follows from it"}
  ]

  @limit 256 * 1_048_576
  # Names of pools, and what the runtime makes of its own.
  @atoms 20
  @python Path.expand("../../python/tests/fuzz.py", __DIR__)

  @doc "The script."
  @spec main([String.t()]) :: no_return
  def main(arguments) do
    # Frames may be log lines, many thousands of them.
    Logger.configure(level: :none)
    Proof.main("fuzz", @options, &both/1, arguments)
  end

  @doc "Runs BEAM's half; options as the script's, `alone: true` where nobody else uses the VM."
  @spec run(Enumerable.t()) :: Proof.report()
  def run(given \\ []) do
    options = Proof.defaults(@options, given)
    # What is made once is made by then.
    _ = if options[:alone], do: parts(%{options | frames: 2_000, live: 20})
    before = counts()
    peak = Peak.start(nil)
    parts = parts(options)
    peak = Peak.stop(peak)
    after_all = counts()

    %{
      figures: figures(parts) ++ [{"memory", memory(before, peak, after_all)}],
      checks: checks(parts) ++ grown(options, before, peak, after_all)
    }
  end

  # Python's half has a core of its own while BEAM's decoder and owner have the other.
  defp both(options) do
    python = Task.async(fn -> python(options) end)
    report = run(options)
    {output, status} = Task.await(python, :infinity)
    IO.puts(output)
    check = {"Python's half", status == 0, "exit status #{status}"}
    %{report | checks: report.checks ++ [check]}
  end

  defp python(options) do
    arguments = [@python, "--frames", "#{options.frames}", "--seed", "#{options.seed}"]
    System.cmd("python", arguments, stderr_to_stdout: true)
  end

  defp parts(options) do
    corpus = Mutator.corpus([{"features", "fuzzfuzz"}, {"lookup", "fuzzes"}])
    {bulk_ms, {decoder, owner}} = timed(fn -> bulk(corpus, options.frames, options.seed) end)

    live =
      for module <- [LiveWorker, LiveOwner] do
        Task.async(fn -> timed(fn -> module.run(corpus, options.live, options.seed) end) end)
      end

    [{worker_ms, worker}, {live_ms, live}] = Task.await_many(live, :infinity)

    [
      %{name: "BEAM's decoder", tally: decoder, ms: bulk_ms, wrong: [], more: ""},
      %{name: "BEAM's owner", tally: owner, ms: bulk_ms, wrong: [], more: ""},
      %{
        name: "a live worker",
        tally: worker.tally,
        ms: worker_ms,
        wrong: [],
        more: "; it ended #{worker.ends} times, as it was told"
      },
      %{name: "a live owner", tally: live.tally, ms: live_ms, wrong: live.wrong, more: ""}
    ]
  end

  # The same frames for both; one in eight is an answer that the owner waits for, or nearly.
  defp bulk(corpus, count, seed) do
    task =
      Task.async(fn ->
        :rand.seed(:exsss, seed)
        owner = Owner.open()

        {decoder, tally, owner} =
          Enum.reduce(1..count, {%Tally{}, %Tally{}, owner}, fn _, {decoder, tally, owner} ->
            body = body(corpus, owner)
            {decoder, nil} = Tally.guard(decoder, body, nil, fn -> {Decoder.check(body), nil} end)
            {tally, owner} = Tally.guard(tally, body, owner, fn -> Owner.feed(owner, body) end)
            {decoder, tally, owner}
          end)

        Owner.close(owner)
        {decoder, tally}
      end)

    Task.await(task, :infinity)
  end

  defp body(corpus, owner) do
    case :rand.uniform(16) do
      1 -> Owner.answer(owner)
      2 -> owner |> Owner.answer() |> Mutator.change(corpus)
      _ -> Mutator.frame(corpus)
    end
  end

  defp timed(fun) do
    started = System.monotonic_time(:millisecond)
    result = fun.()
    {System.monotonic_time(:millisecond) - started, result}
  end

  defp counts do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)

    %{
      memory: :erlang.memory(:total),
      atoms: :erlang.system_info(:atom_count),
      processes: :erlang.system_info(:process_count),
      ports: :erlang.system_info(:port_count)
    }
  end

  defp figures(parts) do
    for part <- parts do
      count = part.tally.taken + part.tally.refused + length(part.tally.broken)
      speed = div(count * 1_000, max(part.ms, 1))
      {part.name, "#{count} frames, #{speed} a second#{part.more}; #{Tally.words(part.tally)}"}
    end
  end

  defp memory(before, peak, after_all) do
    "BEAM #{Proof.mb(before.memory)} MB before, #{Proof.mb(peak.beam)} MB at its peak, " <>
      "#{Proof.mb(after_all.memory)} MB after"
  end

  defp checks(parts) do
    for %{tally: tally} = part <- parts do
      broken = Enum.map_join(Enum.take(tally.broken, 3), &"\n#{&1}")
      wrong = Enum.map_join(part.wrong, &"\n#{&1}")
      held? = tally.broken == [] and part.wrong == [] and tally.taken > 0 and tally.refused > 0

      {part.name <> " takes or refuses each", held?,
       "#{length(tally.broken)} broke it#{broken}#{wrong}"}
    end
  end

  defp grown(options, before, peak, after_all) do
    grown = peak.beam - before.memory
    more = fn key -> after_all[key] - before[key] end

    memory =
      {"memory stays within #{Proof.mb(@limit)} MB", grown < @limit, "#{Proof.mb(grown)} MB more"}

    if options[:alone] do
      [
        memory,
        {"no atom is made of data", more.(:atoms) <= @atoms, "#{more.(:atoms)} more"},
        {"no process is left", more.(:processes) <= 0, "#{more.(:processes)} more"},
        {"no port is left", more.(:ports) <= 0, "#{more.(:ports)} more"}
      ]
    else
      [memory]
    end
  end
end
