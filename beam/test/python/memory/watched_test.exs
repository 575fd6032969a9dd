defmodule Slither.Python.Memory.WatchedTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  alias Slither.Python.Memory.{Groups, Size, Watched}
  alias Slither.Python.Rss

  doctest Size

  @watched %Watched{limit: 100}

  defp process(bytes, os_pid \\ 7), do: %{os_pid: os_pid, name: "python", bytes: bytes}
  defp never(_os_pid), do: flunk("nothing is measured below the limit")

  defp measure(bytes) do
    fn os_pid ->
      send(self(), {:measured, os_pid})
      bytes
    end
  end

  describe "look/4" do
    test "does not measure what is shared while all that is resident is within the limit" do
      assert {:within, _watched} =
               Watched.look(@watched, [process(60), process(40, 8)], 0, &never/1)
    end

    test "says what is over it, and whose, those that take most first" do
      processes = [process(90), process(120, 8)]
      share = fn os_pid -> if os_pid == 7, do: 80, else: 110 end
      assert {:over, facts, _watched} = Watched.look(@watched, processes, 0, share)
      assert facts == %{limit: 100, taken: 190, processes: [process(110, 8), process(80)]}
    end

    test "does not count a process that has ended meanwhile" do
      share = fn os_pid -> if os_pid == 8, do: 0, else: 60 end
      assert {:within, watched} = Watched.look(@watched, [process(90), process(90, 8)], 0, share)
      assert watched.share == {180, 60}
    end

    test "measures several processes twice: some may end while others are measured" do
      {:ok, ended} = Agent.start_link(fn -> 0 end)

      # Two that share all of theirs: the first is measured before the second ends, which has none then.
      share = fn
        7 -> if Agent.get(ended, & &1) < 2, do: 45, else: 90
        8 -> if Agent.get_and_update(ended, &{&1, &1 + 2}) == 0, do: 90, else: 0
      end

      assert {:within, watched} = Watched.look(@watched, [process(90), process(90, 8)], 0, share)
      assert watched.share == {180, 90}
    end

    test "counts all that is resident where nobody can tell what is shared" do
      assert {:over, %{taken: 101}, _watched} =
               Watched.look(@watched, [process(101)], 0, fn _os_pid -> nil end)
    end

    test "names ten processes of many" do
      processes = for n <- 1..30, do: process(n, n)
      assert {:over, facts, _watched} = Watched.look(@watched, processes, 0, & &1)
      assert facts.taken == Enum.sum(1..30)
      assert Enum.map(facts.processes, & &1.bytes) == Enum.to_list(30..21)
    end

    test "measures again only where more is resident than fits, or after a while" do
      {:within, watched} = Watched.look(@watched, [process(150)], 0, measure(40))
      assert_received {:measured, 7}
      {:within, watched} = Watched.look(watched, [process(210)], 100, measure(40))
      refute_received {:measured, _os_pid}
      {:within, watched} = Watched.look(watched, [process(211)], 110, measure(90))
      assert_received {:measured, 7}
      {:within, watched} = Watched.look(watched, [process(211)], 120, measure(90))
      refute_received {:measured, _os_pid}

      assert {:over, %{taken: 101}, _watched} =
               Watched.look(watched, [process(211)], 2_000, measure(101))
    end

    test "forgets what was shared once all fits again" do
      {:within, watched} = Watched.look(@watched, [process(150)], 0, measure(40))
      {:within, watched} = Watched.look(watched, [process(90)], 10, &never/1)
      {:within, _watched} = Watched.look(watched, [process(110)], 20, measure(100))
      assert_received {:measured, 7}
      assert_received {:measured, 7}
    end
  end

  describe "wait/2" do
    defp grown(first, second) do
      {:within, watched} = Watched.look(@watched, [process(first)], 0, &never/1)
      {:within, watched} = Watched.look(watched, [process(second)], 100, &never/1)
      watched
    end

    test "is the usual time for one that does not grow, or slowly" do
      assert Watched.wait(@watched, 250) == 250
      assert Watched.wait(grown(50, 50), 250) == 250
      assert Watched.wait(grown(50, 40), 250) == 250
      assert Watched.wait(grown(10, 11), 250) == 250
    end

    test "is half the time after which it would be over its limit, though not too short" do
      assert Watched.wait(grown(40, 60), 250) == 100
      assert Watched.wait(grown(0, 99), 250) == 50
    end
  end

  describe "Groups" do
    test "reads a process from what the system says of it, whatever it is called" do
      rest =
        Enum.join(["S", 1, 42] ++ List.duplicate("0", 18) ++ [3] ++ List.duplicate("0", 20), " ")

      bytes = 3 * Rss.page_size()
      assert Groups.parse("7 (a) b) #{rest}") == {42, %{os_pid: 7, name: "a) b", bytes: bytes}}
      assert {42, %{name: "<<255>>"}} = Groups.parse(<<"7 (", 255, ") ", rest::binary>>)
      assert Groups.parse("") == nil
      assert Groups.parse("7 (a) S 1") == nil
    end

    test "reads what ps prints" do
      lines = "    7    42   1000 /usr/bin/python3\n    8    42      0 a b\nx\n"

      assert Groups.listed(lines) == [
               {42, %{os_pid: 7, name: "python3", bytes: 1_024_000}},
               {42, %{os_pid: 8, name: "a b", bytes: 0}}
             ]
    end

    test "finds the processes of a group, those that start later too" do
      port =
        Port.open({:spawn_executable, "/bin/sh"}, [
          :binary,
          args: ["-c", "echo up; read x; sleep 600 & echo $!; read y; kill $!"]
        ])

      {:os_pid, leader} = Port.info(port, :os_pid)
      # Only once it runs does it lead a group.
      assert_receive {^port, {:data, "up\n"}}, 60_000
      {found, known} = Groups.read(%Groups{}, [leader], 0)
      assert %{^leader => [%{os_pid: ^leader, bytes: bytes}]} = found
      assert bytes > 0
      Port.command(port, "go\n")
      assert_receive {^port, {:data, line}}, 60_000
      child = line |> String.trim() |> String.to_integer()
      {%{^leader => processes}, _known} = Groups.read(known, [leader], 1)
      assert Enum.sort(Enum.map(processes, & &1.os_pid)) == Enum.sort([leader, child])
      assert Groups.share(leader) > 0
      Port.command(port, "end\n")
    end

    test "a group that is gone has none" do
      assert {found, _known} = Groups.read(%Groups{}, [0x7FFFFFFF], 0)
      assert found == %{}
      assert Groups.share(0x7FFFFFFF) == 0
    end
  end
end
