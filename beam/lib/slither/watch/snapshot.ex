defmodule Slither.Watch.Snapshot do
  @moduledoc false
  # Makes a snapshot, as `Slither.Watch.snapshot/0` gives it, of what the modules beside it read.
  # Called by `Slither.Watch.Server`, in its process.

  alias Slither.Pipe.{Counts, Names}
  alias Slither.Watch.{Counters, Flows, Pools, Samples, Stores, Troubles, Verdict, Words}

  # ms within which items count as flowing: longer while something is at work, whose next results
  # are still to come.
  @busy 5_000
  @quiet 3_000

  @typedoc """
  Since when long-running pipes have had outputs that no sink has taken, nil where they have none,
  with how many they had taken then.
  """
  @type held :: %{optional(pipe :: term) => {taken :: integer, since :: integer | nil}}

  @doc "Notes what the sinks of long-running pipes have taken."
  @spec held(held, integer) :: held
  def held(held, now) do
    counts = for {_name, counts} <- Names.running(), do: counts

    for {pipe, counts} <- Enum.group_by(counts, &Words.name(&1.pipe)), into: %{} do
      taken = Enum.sum(for one <- counts, {_output, n} <- Counts.outputs(one), do: n)
      some? = Enum.any?(counts, &(Counts.get(&1, :delivering) > 0))

      case held do
        %{^pipe => {^taken, since}} when some? and since != nil -> {pipe, {taken, since}}
        _moved_or_new -> {pipe, {taken, if(some?, do: now)}}
      end
    end
  end

  @doc "Makes one, with what the server knows of before."
  @spec make(%{
          required(:began) => integer,
          required(:samples) => Samples.t(),
          required(:held) => held,
          optional(atom) => term
        }) :: map
  def make(%{began: began, samples: samples, held: held}) do
    now = System.monotonic_time(:millisecond)
    counts = Counters.read()
    seen = %{samples: samples, counts: counts, now: now, held: held(held, now)}
    {pools, sessions} = Pools.all()
    failures = Troubles.failures(counts, now)
    {pipes, stages} = Flows.all(Map.put(seen, :last_failed, Troubles.last_failed(failures)))

    snapshot = %{
      version: to_string(Application.spec(:slither, :vsn)),
      name: name(),
      os_pid: System.pid() |> String.to_integer(),
      program_pid: program()["pid"],
      otp: System.otp_release(),
      at: System.system_time(:millisecond),
      uptime: now - began,
      totals: totals(seen, pools, pipes, stages),
      pipes: pipes,
      stages: stages,
      pools: pools,
      failures: failures,
      stores: Stores.all(samples, now, counts),
      sessions: sessions,
      checkpoints: Stores.checkpoints(),
      events: Troubles.events()
    }

    Map.put(snapshot, :verdict, Verdict.of(snapshot))
  end

  defp totals(seen, pools, pipes, stages) do
    busy = Enum.sum(Enum.map(pools, & &1.busy))
    waits = for %{oldest_wait: wait} when wait != nil <- pools, do: wait
    all = Enum.flat_map(pipes, & &1.stages) ++ stages
    inside? = Enum.any?(all, &(&1.queued + &1.running + &1.retrying > 0))
    window = if busy > 0 or waits != [] or inside?, do: @busy, else: @quiet

    # An item goes through all stages of its pipe, and is one.
    places =
      for(pipe <- pipes, do: Enum.map(pipe.stages, &{pipe.name, &1.name})) ++
        for stage <- stages, do: [{nil, stage.name}]

    %{
      rate: most(places, &rate(seen, {&1, :items}, window)),
      oldest_wait: Enum.max(waits, fn -> nil end),
      workers: Enum.sum(Enum.map(pools, & &1.ready)),
      busy: busy,
      failed_share: failed_share(seen, places)
    }
  end

  defp failed_share(%{samples: samples, now: now, counts: counts}, places) do
    failed = &Counters.failed(samples, now, counts, &1, 30_000)
    errors = most(places, &elem(failed.(&1), 0))
    items = most(places, &elem(failed.(&1), 1))
    if errors > 0, do: Float.round(min(errors / max(items, errors), 1.0), 5), else: 0
  end

  defp most(places, rate) do
    places
    |> Enum.map(fn same -> same |> Enum.map(rate) |> Enum.max(fn -> 0 end) end)
    |> Enum.sum()
  end

  defp rate(%{samples: samples, now: now, counts: counts}, key, window),
    do: Samples.rate(samples, now, counts, key, window)

  # What the program is called that has started the VM, or else a release, or the folder it runs in.
  defp name do
    program()["name"] || System.get_env("RELEASE_NAME") || Path.basename(File.cwd!())
  rescue
    # The folder is gone.
    File.Error -> "slither"
  end

  defp program, do: Application.get_env(:slither, :program, %{})
end
