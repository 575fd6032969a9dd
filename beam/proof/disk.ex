defmodule Slither.Proof.Disk do
  @moduledoc false
  # Durable stores on disks that fill up, while their processes and their VM are killed. In each
  # round three writers write to a store on a small disk of its own; a filler takes all the room
  # that is left, and gives it back; the store's owner or all of the store is killed, or the round
  # is of a VM of its own, which is killed with `kill -9`. Then the store starts again, on the disk
  # as it is, has all that was acknowledged, and takes writes once there is room.

  alias Slither.Proof
  alias Slither.Proof.Disk.{Mount, Round}

  @options [
    rounds: {1_000, "rounds"},
    vms: {10, "every so many rounds the writers are in a VM of their own, which is killed"},
    ms: {150, "ms of writing in a round"},
    seed: {nil, "what is random follows from it"}
  ]

  @doc "The script."
  @spec main([String.t()]) :: no_return
  def main(arguments) do
    Proof.mute()

    unless Mount.possible?() do
      IO.puts(
        :stderr,
        "scripts/disk mounts small disks (tmpfs), and may not do that here: run it as root"
      )

      System.halt(2)
    end

    Proof.main("disk", @options, &run/1, arguments)
  end

  @doc "Runs it; where nothing can be mounted, in a folder that never is full."
  @spec run(Enumerable.t()) :: Proof.report()
  def run(given \\ []) do
    options = Proof.defaults(@options, given)
    _ = :rand.seed(:exsss, options.seed)
    dir = Path.join(System.tmp_dir!(), "slither-disk-#{System.pid()}-#{options.seed}")
    mount? = Mount.possible?()
    started = System.monotonic_time(:millisecond)

    rounds =
      for number <- 1..options.rounds do
        vm? = rem(number, options.vms) == 0
        disk = Mount.begin(dir, Enum.random(64..1_024), mount?)
        round = Round.run(disk, %{ms: options.ms, vm?: vm?, sync: Enum.random([:always, 20])})
        Mount.stop(disk)
        round
      end

    report(rounds, mount?, System.monotonic_time(:millisecond) - started)
  end

  defp report(rounds, mount?, ms) do
    sum = fn key -> rounds |> Enum.map(& &1[key]) |> Enum.sum() end
    endings = Enum.frequencies_by(rounds, & &1.ending)

    %{
      figures: [
        {"took", "#{Proof.seconds(ms)} s"},
        {"rounds", Proof.counts(endings)},
        {"sync", Proof.counts(Enum.frequencies_by(rounds, & &1.sync))},
        {"disks", if(mount?, do: "64 to 1,024 KB", else: "a folder: never full")},
        {"acknowledged", sum.(:acknowledged)},
        {"refused", sum.(:refused)},
        {"owners killed", sum.(:owners)},
        {"filled", sum.(:filled)},
        {"filled by the log alone", sum.(:own)}
      ],
      checks: [
        none("no acknowledged write is lost", rounds, :lost),
        none("every start succeeds", rounds, :refused_starts),
        none("nothing hangs", rounds, :hung),
        none("writes go on once there is room", rounds, :stuck),
        {"writes were acknowledged", sum.(:acknowledged) > 0, ""},
        {"writes were refused", sum.(:refused) > 0 or not mount?, ""}
      ]
    }
  end

  defp none(label, rounds, key) do
    found = rounds |> Enum.flat_map(& &1[key]) |> Enum.take(5)
    {label, found == [], if(found == [], do: "", else: inspect(found, limit: 20))}
  end
end
