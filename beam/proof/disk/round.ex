defmodule Slither.Proof.Disk.Round do
  @moduledoc false
  # One round: writers, what is done to them, and what is there afterwards.

  alias Slither.Proof.Disk.{Mount, Writers}
  alias Slither.Store.{Directory, Server}

  # What takes longer hangs.
  @patience 20_000

  @type result :: map

  @spec run(map, map) :: result
  def run(disk, options) do
    task = Task.async(fn -> round(disk, options) end)

    case Task.yield(task, 4 * @patience) do
      {:ok, result} -> result
      nil -> Task.shutdown(task, :brutal_kill) && %{result(options, :hung) | hung: [:round]}
    end
  end

  defp result(options, ending) do
    %{ending: ending, sync: options.sync, acknowledged: 0, refused: 0, owners: 0, filled: 0}
    |> Map.merge(%{lost: [], refused_starts: [], hung: [], stuck: [], own: 0})
  end

  defp round(disk, options) do
    Process.flag(:trap_exit, true)
    result = if options.vm?, do: in_a_vm(disk, options), else: in_here(disk, options)
    # As it is: full, or not.
    result = again(disk, options, result)
    Map.drop(result, [:acks])
  end

  # All in this VM: the owner is killed on the way, and in the end the store is stopped or killed.
  defp in_here(disk, options) do
    {:ok, store} = Writers.start(disk.dir, options.sync)
    parent = self()
    writers = Writers.begin(disk.kb, &send(parent, {:told, self(), &1}))
    until = now() + options.ms
    blows = strike(disk, until, %{owners: 0, filled: 0}, &kill_owner/0)
    ending = Enum.random([:stopped, :killed])

    hung =
      case ending do
        :stopped -> stop(store)
        :killed -> kill(store)
      end

    # What was acknowledged is told after its answer came.
    for writer <- writers, do: kill(writer)
    {acks, count, refused} = told(%{}, 0, 0)

    options
    |> result(ending)
    |> Map.merge(blows)
    |> Map.merge(%{acks: acks, acknowledged: count, refused: refused, hung: hung})
  end

  defp in_a_vm(disk, options) do
    port = open(disk, options)
    wait_for_line(port)
    until = now() + options.ms
    blows = strike(disk, until, %{owners: 0, filled: 0}, fn -> 0 end)
    {:os_pid, pid} = Port.info(port, :os_pid)
    {_, 0} = System.cmd("kill", ["-9", "#{pid}"])
    {acks, count, refused} = lines(port, %{}, 0, 0)

    options
    |> result(:"kill -9")
    |> Map.merge(blows)
    |> Map.merge(%{acks: acks, acknowledged: count, refused: refused})
  end

  defp strike(disk, until, done, kill) do
    if now() >= until do
      done
    else
      done =
        case :rand.uniform(8) do
          1 -> %{done | owners: done.owners + kill.()}
          n when n < 5 -> Mount.fill(disk) && %{done | filled: done.filled + 1}
          _ -> Mount.free(disk) && done
        end

      receive after: (:rand.uniform(12) -> strike(disk, until, done, kill))
    end
  end

  defp kill_owner do
    case GenServer.whereis(Directory.via(Writers, :owner)) do
      nil -> 0
      pid -> Process.exit(pid, :kill) && 1
    end
  end

  # It starts, has what was acknowledged, and takes a write once there is room.
  defp again(disk, options, result) do
    case Writers.start(disk.dir, options.sync) do
      {:ok, store} ->
        result = %{result | lost: Writers.lost(result.acks)}
        Mount.free(disk)
        {stuck, full} = afterwards(disk, goes_on?(now() + @patience))
        result = %{result | stuck: stuck, own: full, hung: result.hung ++ stop(store)}
        last(disk, options, result)

      {:error, reason} ->
        %{result | refused_starts: [reason]}
    end
  end

  # A log that has taken all the room itself can't go on: it has nowhere to compact itself to.
  defp afterwards(_disk, true), do: {[], 0}

  defp afterwards(disk, false) do
    files = for file <- File.ls!(disk.dir), do: {file, File.stat!(Path.join(disk.dir, file)).size}
    if Mount.room(disk) < 8, do: {[], 1}, else: {[{disk.kb, Mount.room(disk), files}], 0}
  end

  # Once more.
  defp last(disk, options, result) do
    case Writers.start(disk.dir, options.sync) do
      {:ok, store} ->
        lost =
          result.lost ++
            Writers.lost(
              if(result.stuck == [] and result.own == 0,
                do: Map.put(result.acks, :last, 1),
                else: result.acks
              )
            )

        %{result | lost: lost, hung: result.hung ++ stop(store)}

      {:error, reason} ->
        %{result | refused_starts: [reason]}
    end
  end

  defp goes_on?(until) do
    Server.put(Writers, :items, :last, {1, ""}) == :ok
  rescue
    _error in [Slither.Error] -> now() < until and goes_on?(until)
  end

  defp stop(store) do
    Process.exit(store, :shutdown)
    gone(store)
  end

  defp kill(pid) do
    Process.exit(pid, :kill)
    gone(pid)
  end

  defp gone(pid) do
    ref = Process.monitor(pid)

    receive do
      {:DOWN, ^ref, :process, _pid, _reason} -> []
    after
      @patience -> [{:did_not_end, pid}]
    end
  end

  defp told(acks, count, refused) do
    receive do
      {:told, _writer, {:ack, key, n}} -> told(Map.put(acks, key, n), count + 1, refused)
      {:told, _writer, :refused} -> told(acks, count, refused + 1)
    after
      0 -> {acks, count, refused}
    end
  end

  defp open(disk, options) do
    paths = for path <- :code.get_path(), path = to_string(path), path =~ "_build", do: path
    code = "Slither.Proof.Disk.Writers.main(System.argv())"
    pa = Enum.flat_map(paths, &["-pa", &1])
    args = pa ++ ["-e", code, "--", disk.dir, "#{options.sync}", "#{disk.kb}"]
    options = [:binary, :exit_status, :hide, line: 1_000, args: args]
    Port.open({:spawn_executable, System.find_executable("elixir")}, options)
  end

  defp wait_for_line(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> send(self(), {port, {:data, {:eol, line}}})
    end
  end

  defp lines(port, acks, count, refused) do
    receive do
      {^port, {:data, {:eol, "ack " <> ack}}} ->
        [writer, key, n] = ack |> String.split() |> Enum.map(&String.to_integer/1)
        lines(port, Map.put(acks, {writer, key}, n), count + 1, refused)

      {^port, {:data, {:eol, "refused"}}} ->
        lines(port, acks, count, refused + 1)

      {^port, {:data, _other}} ->
        lines(port, acks, count, refused)

      {^port, {:exit_status, _status}} ->
        {acks, count, refused}
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
