defmodule Slither.Proof.Chaos.Disturber do
  @moduledoc false
  # Strikes a pool at random moments, `every` ms apart on average: by signals to its processes,
  # and by traps for its handler.

  alias Slither.Proof.Chaos.Traps
  alias Slither.Proof.Processes
  alias Slither.Python.Pool

  # One of these is drawn for each blow, then one of its causes.
  @kinds [
    ["SIGKILL"],
    ["SIGSTOP"],
    ["sleep", "spin", "hang in C"],
    ["memory", "memory in C"],
    ["segfault", "exit", "closed descriptors"]
  ]
  # One in so many kills hits any process of the pool, those that start or hang among them.
  @any 5
  # A trap is there for so many looks, and ms between: it does not wait for whoever comes next.
  @looks 10
  @look 5
  # ms to the next try where nobody was hit.
  @again 5

  @type blow :: %{
          number: pos_integer,
          at: integer,
          cause: String.t(),
          os_pid: pos_integer | nil,
          with: [pos_integer]
        }

  @doc "The causes there are."
  @spec causes() :: [String.t()]
  def causes, do: Enum.concat(@kinds)

  @doc "Those that end only by the call's timeout."
  @spec hangs() :: [String.t()]
  def hangs, do: ["sleep", "spin", "hang in C", "SIGSTOP"]

  @doc "Begins to strike the pool."
  @spec start(%{
          pool: atom,
          token: String.t(),
          every: pos_integer,
          blows: pos_integer,
          seed: integer
        }) :: pid
  def start(%{pool: _, token: _, every: _, blows: _, seed: seed} = target) do
    spawn_link(fn ->
      :rand.seed(:exsss, seed)
      loop(target, System.monotonic_time(:millisecond) + gap(target.every), [])
    end)
  end

  @doc "Ends it; the blows, in order. A trap's victim is known by its progress alone."
  @spec stop(pid) :: [blow]
  def stop(disturber) do
    send(disturber, {:stop, self()})
    receive do: ({^disturber, blows} -> blows)
  end

  defp loop(target, next, blows, cause \\ draw()) do
    now = System.monotonic_time(:millisecond)
    pause = if length(blows) < target.blows, do: max(0, next - now), else: :infinity

    receive do
      {:stop, from} -> send(from, {self(), Enum.reverse(blows)})
    after
      pause ->
        case strike(target, cause, length(blows) + 1) do
          # Where nobody was hit, somebody else soon is.
          nil -> loop(target, now + @again, blows, cause)
          blow -> loop(target, next + gap(target.every), [blow | blows])
        end
    end
  end

  defp draw, do: @kinds |> Enum.random() |> Enum.random()

  # What comes at random comes so: gaps are exponential.
  defp gap(every), do: max(1, round(-:math.log(:rand.uniform()) * every))

  defp strike(target, "SIGKILL", number) do
    if :rand.uniform(@any) == 1,
      do: kill_any(Processes.of(target.token), number),
      else: signal(ready(target), "SIGKILL", "KILL", number)
  end

  # One that starts would have its whole startup_timeout.
  defp strike(target, "SIGSTOP", number), do: signal(ready(target), "SIGSTOP", "STOP", number)

  defp strike(_target, kind, number) do
    :ok = Traps.set(number, kind)
    if caught?(@looks), do: blow(number, kind, nil)
  end

  # It may be the template that workers are forked from, which end with it: stopped, it forks no more.
  defp kill_any([], _number), do: nil

  defp kill_any(os_pids, number) do
    os_pid = Enum.random(os_pids)

    if Processes.signal(os_pid, "STOP") do
      blow = %{blow(number, "SIGKILL", os_pid) | with: Processes.children(os_pid)}
      if Processes.signal(os_pid, "KILL"), do: blow
    end
  end

  defp caught?(0), do: Traps.taken?()

  defp caught?(looks) do
    receive after: (@look -> :ok)
    if Traps.set?(), do: caught?(looks - 1), else: Traps.taken?()
  end

  defp ready(target) do
    {:ok, status} = Pool.status(target.pool)

    for %{status: :ready, os_pid: os_pid} <- status.workers,
        not Processes.stopped?(os_pid),
        do: os_pid
  end

  defp signal([], _cause, _signal, _number), do: nil

  defp signal(os_pids, cause, signal, number) do
    os_pid = Enum.random(os_pids)
    blow = blow(number, cause, os_pid)
    if Processes.signal(os_pid, signal), do: blow
  end

  defp blow(number, cause, os_pid) do
    at = System.monotonic_time(:millisecond)
    %{number: number, at: at, cause: cause, os_pid: os_pid, with: []}
  end
end
