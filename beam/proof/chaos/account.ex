defmodule Slither.Proof.Chaos.Account do
  @moduledoc false
  # What a run with blows came to. Pure: from what both runs gave, the blows and the events.

  alias Slither.Proof
  alias Slither.Proof.Chaos.Disturber

  @slack 100

  @doc """
  The report of a disturbed run against the undisturbed one.

  A pass has `results` (payloads as they came), `error`, `ms`, `events`, `blows`, `peak`, `left`
  (processes that did not end) and `gone_ms`.
  """
  @spec report(map, map, map) :: Proof.report()
  def report(plain, disturbed, options) do
    struck = struck(disturbed)
    deaths = deaths(disturbed.events, struck)
    receipt = receipt(disturbed.events)
    kept = kept(plain, disturbed)

    %{
      figures: [
        {"undisturbed", speed(plain)},
        {"disturbed", speed(disturbed)},
        {"throughput kept", "#{kept} %"},
        {"blows", blows(struck, disturbed.ms)},
        {"deaths", "#{length(deaths)}: #{by(deaths, & &1.cause)}"},
        {"deaths, as told", by(deaths, & &1.reason)},
        {"restarts", to_string(max(ups(disturbed.events) - options.workers - options.spare, 0))},
        {"hangs, start to death", hangs(deaths, options.timeout)},
        {"retries", to_string(receipt[:retries])},
        {"requeues", to_string(receipt[:requeues])},
        {"workers gone in", "#{disturbed.gone_ms} ms"}
      ],
      checks:
        same(plain, disturbed, options) ++
          [
            adds_up(receipt, options.items),
            provoked(deaths),
            everything(deaths, struck, options),
            {"no worker is left", disturbed.left == [], inspect(disturbed.left)}
          ]
    }
  end

  @doc "Blows with their victims: a trap's is who told of it by its progress."
  @spec struck(map) :: [Disturber.blow()]
  def struck(%{blows: blows, events: events}) do
    caught =
      for {:progress, at, %{done: number}, %{os_pid: os_pid}} <- events,
          into: %{},
          do: {number, {at, os_pid}}

    Enum.flat_map(blows, fn
      %{os_pid: nil, number: number} = blow ->
        # A trap that nobody fell into has hurt nobody.
        case caught do
          %{^number => {at, os_pid}} -> [%{blow | at: at, os_pid: os_pid}]
          _ -> []
        end

      blow ->
        [blow]
    end)
  end

  @doc "Every death but those at the pool's end, with the blow that came last before it: `cause` is `none` where there was none."
  @spec deaths([tuple], [Disturber.blow()]) :: [map]
  def deaths(events, struck) do
    for {:down, at, _, %{os_pid: os_pid, reason: reason}} <- events, reason != :shutdown do
      # Blows and deaths are noted by different processes: a few ms may be the wrong way round.
      blow =
        struck
        |> Enum.filter(&(os_pid in [&1.os_pid | &1.with] and &1.at <= at + @slack))
        |> Enum.max_by(& &1.at, fn -> %{cause: "none", at: nil} end)

      %{at: at, os_pid: os_pid, reason: reason, cause: blow.cause, struck: blow.at}
    end
  end

  defp same(plain, disturbed, options) do
    ids = Enum.map(disturbed.results, &hd/1)
    seen = Enum.frequencies(ids)
    lost = Enum.count(1..options.items, &(not is_map_key(seen, &1)))
    twice = for {id, count} <- seen, count > 1, do: id

    whole? =
      plain.error == nil and Enum.map(plain.results, &hd/1) == Enum.to_list(1..options.items)

    [
      {"the undisturbed run is whole", whole?, words(plain.error)},
      {"the disturbed run ends well", disturbed.error == nil, words(disturbed.error)},
      {"nothing is lost", lost == 0, "#{lost} ids never came"},
      {"nothing comes twice", twice == [], "#{length(twice)} ids came more than once"},
      {"the results are the same, item for item", plain.results == disturbed.results, ""}
    ]
  end

  defp words(nil), do: ""
  defp words(error), do: Exception.message(error)

  defp adds_up(nil, _items), do: {"the receipt adds up", false, "there is none"}

  defp adds_up(receipt, items) do
    %{in: taken, expanded: expanded, out: out, skipped: skipped, routed: routed, failed: failed} =
      receipt

    sum? = taken + expanded == out + skipped + routed + failed
    all? = taken == items and out == items and receipt.short == 0 and receipt.duplicate == 0
    counts = Map.take(receipt, ~w(in out skipped routed failed batches late duplicate short)a)
    {"the receipt adds up", sum? and all?, Proof.counts(counts)}
  end

  # A call may take longer than its time on a busy machine; nothing else happens by itself.
  defp provoked(deaths) do
    odd = for %{cause: "none", reason: reason} = death <- deaths, reason != :timeout, do: death
    {"nobody died without a cause", odd == [], inspect(odd, limit: 5)}
  end

  # A short run can't have seen it all.
  defp everything(_deaths, struck, %{everything: false}),
    do: {"workers were struck", struck != [], "#{length(struck)} blows"}

  defp everything(deaths, struck, _options) do
    # Memory that is exhausted need not end more than the call.
    seen = Enum.map(deaths, & &1.cause) ++ for(%{cause: "memory"} <- struck, do: "memory")
    missing = Disturber.causes() -- seen
    {"every cause struck", missing == [], "missing: #{Enum.join(missing, ", ")}"}
  end

  defp receipt(events) do
    Enum.find_value(events, fn
      {name, _at, receipt, %{run: _}} when name in [:stop, :exception] -> receipt
      _other -> nil
    end)
  end

  defp ups(events), do: Enum.count(events, &match?({:up, _, _, _}, &1))
  defp by(list, fun), do: list |> Enum.frequencies_by(fun) |> Proof.counts()

  defp blows(struck, ms) do
    every = if struck != [], do: ", one in #{div(ms, length(struck))} ms"
    "#{length(struck)}#{every}: #{by(struck, & &1.cause)}"
  end

  defp hangs(deaths, timeout) do
    taken =
      for %{reason: :timeout, struck: struck, at: at, cause: cause} <- deaths,
          cause in (Disturber.hangs() -- ["SIGSTOP"]),
          do: at - struck

    "median #{Proof.median(taken)} ms, longest #{Enum.max(taken, fn -> nil end)} ms of #{timeout} ms allowed"
  end

  defp kept(plain, disturbed), do: Float.round(100 * plain.ms / max(disturbed.ms, 1), 1)

  defp speed(pass) do
    count = length(pass.results)

    "#{count} items in #{Proof.seconds(pass.ms)} s, #{div(count * 1_000, max(pass.ms, 1))} a second; " <>
      "peak memory: BEAM #{Proof.mb(pass.peak.beam)} MB, workers #{Proof.mb(pass.peak.workers)} MB"
  end
end
