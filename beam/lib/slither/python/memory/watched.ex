defmodule Slither.Python.Memory.Watched do
  @moduledoc false
  # A worker with a limit of memory: what it was seen to take, whether that is too much, and when to
  # look again. Pure, but for the measuring that it asks for; of `Slither.Python.Memory`.
  #
  # What is resident counts first, as it is cheap to read. Only where that is beyond the limit are
  # pages that several processes have shared out among them: the workers that were forked from one
  # process have most of theirs in common. The system walks all pages for this, so that it is done
  # again only where more has become resident, or after a while that is long beside what it took.

  alias Slither.Python.Memory.Groups

  # ms between two looks at one that grows fast.
  @soonest 50
  # ms between two measurements of what is shared, at least and at most, and how often its cost.
  @least 250
  @most 1_000
  @cost 20
  # Processes of a group that an error names.
  @named 10

  @enforce_keys [:limit]
  defstruct [:limit, :at, :rate, rss: 0, share: nil, again: 0]

  @typedoc """
  It had `rss` bytes resident at a time, by which it grows by `rate` bytes a ms. Of `share`, what was
  resident when that was measured, and the measured bytes; the next time is `again`, at the latest.
  """
  @type t :: %__MODULE__{
          limit: pos_integer,
          at: integer | nil,
          rate: float | nil,
          rss: non_neg_integer,
          share: {rss :: non_neg_integer, bytes :: non_neg_integer} | nil,
          again: integer
        }
  @typedoc "Why it is to end; those of its processes that take most come first."
  @type facts :: %{limit: pos_integer, taken: pos_integer, processes: [Groups.process()]}

  @doc """
  Its processes are these, `now`, in ms. `share` measures one.
  """
  @spec look(t, [Groups.process()], integer, (pos_integer -> non_neg_integer | nil)) ::
          {:within, t} | {:over, facts, t}
  def look(watched, processes, now, share) do
    rss = sum(processes)
    watched = seen(watched, rss, now)

    cond do
      rss <= watched.limit -> {:within, %{watched | share: nil}}
      known?(watched, now) -> {:within, watched}
      true -> measured(watched, processes, now, share)
    end
  end

  defp seen(%__MODULE__{at: nil} = watched, rss, now), do: %{watched | at: now, rss: rss}

  defp seen(watched, rss, now),
    do: %{watched | at: now, rss: rss, rate: (rss - watched.rss) / max(now - watched.at, 1)}

  # All that has become resident since then may be its own.
  defp known?(%__MODULE__{share: nil}, _now), do: false

  defp known?(%__MODULE__{share: {rss, bytes}} = watched, now),
    do: now < watched.again and bytes + max(watched.rss - rss, 0) <= watched.limit

  defp measured(watched, processes, now, share) do
    began = System.monotonic_time(:millisecond)
    processes = settled(shared_out(processes, share), watched.limit, share)
    cost = System.monotonic_time(:millisecond) - began
    taken = sum(processes)
    again = now + (cost |> Kernel.*(@cost) |> max(@least) |> min(@most))
    watched = %{watched | share: {watched.rss, taken}, again: again}

    if taken <= watched.limit,
      do: {:within, watched},
      else: {:over, facts(watched, taken, processes), watched}
  end

  defp shared_out(processes, share) do
    for %{os_pid: os_pid, bytes: resident} = process <- processes,
        do: %{process | bytes: share.(os_pid) || resident}
  end

  # One process is measured after the other. Where some end meanwhile, the others have larger shares
  # than they had: what is over the limit has to be so twice.
  defp settled([_, _ | _] = processes, limit, share) do
    again = if sum(processes) > limit, do: shared_out(processes, share), else: processes
    Enum.min_by([processes, again], &sum/1)
  end

  defp settled(alone, _limit, _share), do: alone

  defp facts(watched, taken, processes) do
    largest = processes |> Enum.sort_by(& &1.bytes, :desc) |> Enum.take(@named)
    %{limit: watched.limit, taken: taken, processes: largest}
  end

  defp sum(processes), do: processes |> Enum.map(& &1.bytes) |> Enum.sum()

  @doc "ms to leave until the next look, `usual` unless it may be over its limit by then."
  @spec wait(t, pos_integer) :: pos_integer
  def wait(%__MODULE__{rate: rate}, usual) when rate == nil or rate <= 0, do: usual

  def wait(watched, usual) do
    taken =
      with {rss, bytes} <- watched.share,
           do: bytes + watched.rss - rss,
           else: (nil -> watched.rss)

    left = (watched.limit - taken) / watched.rate / 2
    left |> trunc() |> max(@soonest) |> min(usual)
  end
end
