defmodule Slither.Python.Guard do
  @moduledoc false
  # The process that kills workers, each with its process group, so that
  # processes which handlers started end, too. It does so when a worker's
  # owner asks, when the owner is gone, and when BEAM is. Owners call it; it
  # sends a signal for them as well, as that takes a program, too.
  #
  # A shell does the killing, since something has to outlive BEAM. It knows the groups, and reads
  # a pipe from BEAM: however BEAM ends, the shell reads the end of the pipe and kills all groups.
  # The shell runs none of the user's code and forks nothing, so that nothing can hold it up, and
  # a kill costs BEAM one write to the pipe. If the shell is killed or stopped, the guard starts
  # another and tells it all that the first one knew.

  use GenServer

  require Logger

  alias Slither.Python.OSProcess

  # The shell knows a process by its pid and its start time (0 if not known), as another process
  # may have got the pid meanwhile, say if BEAM was stopped for a day. If no process has the pid,
  # its group may still exist, and the system does not reuse the pid until that is gone. dash does
  # not know "-KILL --".
  @script """
  exec 2>/dev/null
  trap '' HUP INT QUIT TERM PIPE

  end() {
    read -r stat <"/proc/${1%:*}/stat" && set -- "$1" ${stat##*) } || set -- "$1"
    case $1 in *:0 | *:"${21:-${1#*:}}") kill -s KILL -- "-${1%:*}" ;; esac
  }

  groups=" $* "
  echo ready
  while read -r order group; do
    case $order in
      watch) case $groups in *" $group "*) ;; *) groups="$groups$group " ;; esac ;;
      kill) end "$group" ;;
      signal) kill "-${group%:*}" "${group#*:}" ;;
      release)
        end "$group"
        case $groups in *" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;; esac ;;
    esac
    echo "$order $group"
  done
  for group in $groups; do end "$group"; done
  """

  # In ms: how long a caller waits for the guard's answer; how long the shell may take to report
  # an order as done; the pause before a shell that ended at once is started again; and the time
  # between two checks that the shell still reads.
  @patience 5_000
  @late 500
  @pause 100
  @look 5_000

  defmodule State do
    @moduledoc false
    # `watched` maps the monitor of an owner to the owner's pid, the process's pid and its group.
    # `waiting` holds the callers that wait until their process is watched, and `pending` the
    # orders that the shell has not reported as done.
    defstruct [:port, :os_pid, :since] ++
                [ready: false, waiting: [], watched: %{}, pending: %{}]
  end

  @doc "Starts the node's guard; its shell starts with the first worker."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options \\ []) do
    GenServer.start_link(__MODULE__, nil, Keyword.take(options, [:name]))
  end

  @doc """
  Has the group of a process, which was started at `since`, killed when the caller is gone, or
  BEAM is. `:late` says that the guard has not confirmed it within `timeout` ms, or is not there.
  """
  @spec watch(GenServer.server(), pos_integer, non_neg_integer, timeout) :: :ok | :late
  def watch(guard \\ __MODULE__, os_pid, since, timeout \\ @patience)
      when is_integer(os_pid) and os_pid > 1 do
    GenServer.call(guard, {:watch, os_pid, since}, timeout)
  catch
    :exit, {_reason, {GenServer, :call, _arguments}} -> :late
  end

  @doc "The same, without waiting for it."
  @spec watch_later(GenServer.server(), pos_integer, non_neg_integer) :: :ok
  def watch_later(guard \\ __MODULE__, os_pid, since),
    do: GenServer.cast(guard, {:watch, self(), os_pid, since})

  @doc "Kills the group of a process that is watched."
  @spec kill(GenServer.server(), pos_integer) :: :ok
  def kill(guard \\ __MODULE__, os_pid), do: GenServer.cast(guard, {:kill, os_pid})

  @doc """
  Kills what a process that has ended left in its group; the caller, who had it watched, has it
  watched no more.
  """
  @spec release(GenServer.server(), pos_integer) :: :ok
  def release(guard \\ __MODULE__, os_pid),
    do: GenServer.cast(guard, {:release, self(), os_pid})

  @doc """
  Sends a signal to a process, to that alone. Nothing makes sure of it: a shell that is not there, or
  not reading, sends none, and a later one does not make up for it.
  """
  @spec signal(GenServer.server(), pos_integer, pos_integer) :: :ok
  def signal(guard \\ __MODULE__, os_pid, number),
    do: GenServer.cast(guard, {:signal, os_pid, number})

  @impl true
  def init(nil) do
    # The port sends an exit signal if the shell ends while something is written to it.
    Process.flag(:trap_exit, true)
    Process.send_after(self(), :look, @look)
    {:ok, %State{}}
  end

  @impl true
  def handle_call({:watch, os_pid, since}, {owner, _tag} = from, state) do
    state = add(%{state | waiting: [from | state.waiting]}, owner, os_pid, since)
    {:noreply, if(state.ready, do: answer(state), else: state)}
  end

  @impl true
  def handle_cast({:watch, owner, os_pid, since}, state),
    do: {:noreply, add(state, owner, os_pid, since)}

  def handle_cast({:kill, os_pid}, state) do
    groups = for {_monitor, {_owner, ^os_pid, group}} <- state.watched, uniq: true, do: group
    {:noreply, Enum.reduce(groups, state, &order(&2, "kill", &1))}
  end

  def handle_cast({:signal, os_pid, number}, state),
    do: {:noreply, write(state, "signal", "#{number}:#{os_pid}")}

  def handle_cast({:release, owner, os_pid}, state) do
    monitors = for {monitor, {^owner, ^os_pid, _group}} <- state.watched, do: monitor
    {:noreply, Enum.reduce(monitors, state, &forget(&2, &1))}
  end

  @impl true
  def handle_info({port, {:data, {:eol, "ready"}}}, %State{port: port} = state),
    do: {:noreply, answer(tell(%{state | ready: true}))}

  def handle_info({port, {:data, {:eol, done}}}, %State{port: port} = state),
    do: {:noreply, %{state | pending: Map.delete(state.pending, done)}}

  def handle_info({port, {:exit_status, status}}, %State{port: port} = state),
    do: {:noreply, ended(state, OSProcess.describe(status))}

  def handle_info({:EXIT, port, reason}, %State{port: port} = state),
    do: {:noreply, ended(state, inspect(reason))}

  def handle_info(:open, %State{port: nil} = state), do: {:noreply, open(state)}

  def handle_info(:look, state) do
    Process.send_after(self(), :look, @look)
    {:noreply, if(state.port, do: order(state, "look", "0:0"), else: state)}
  end

  # The shell has not carried out an order in time, so somebody must have stopped it.
  def handle_info({:late, order, ref}, state) do
    if state.pending[order] == ref, do: replace(state)
    {:noreply, state}
  end

  def handle_info({:DOWN, monitor, :process, _owner, _reason}, state)
      when is_map_key(state.watched, monitor),
      do: {:noreply, forget(state, monitor)}

  def handle_info(_late, state), do: {:noreply, state}

  # A process that is asked for twice is watched twice, and each watch ends on its own.
  defp add(state, owner, os_pid, since) do
    group = "#{os_pid}:#{since}"
    watched = Map.put(state.watched, Process.monitor(owner), {owner, os_pid, group})
    state = %{state | watched: watched}

    cond do
      state.ready -> write(state, "watch", group)
      state.since == nil -> open(state)
      # `tell/1` tells the shell, or the one that replaces it, as soon as it is ready.
      true -> state
    end
  end

  defp forget(state, monitor) do
    Process.demonitor(monitor, [:flush])
    {{_owner, _os_pid, group}, watched} = Map.pop!(state.watched, monitor)
    order(%{state | watched: watched}, "release", group)
  end

  defp ended(state, how) do
    Logger.warning("the guard of Python workers ended (#{how}); it is started again")

    # Workers start even without a guard. They end with BEAM
    # by themselves, but processes that they start do not.
    state = answer(%{state | port: nil, os_pid: nil, ready: false})

    if now() - state.since < @pause do
      Process.send_after(self(), :open, @pause)
      state
    else
      open(state)
    end
  end

  defp open(state) do
    args = ["-c", @script, "slither-guard" | groups(state)]
    options = [:binary, :exit_status, :hide, line: 64, cd: "/", args: args]
    port = Port.open({:spawn_executable, "/bin/sh"}, options)

    # A shell that has ended already has no pid; its port reports the end.
    os_pid =
      case Port.info(port, :os_pid) do
        {:os_pid, os_pid} -> os_pid
        nil -> nil
      end

    %{state | port: port, os_pid: os_pid, since: now()}
  rescue
    # The system has no processes or descriptors left.
    error in [ErlangError, ArgumentError] ->
      ended(%{state | since: now()}, Exception.message(error))
  end

  defp now, do: System.monotonic_time(:millisecond)

  # Tells a new shell all that it must know: a port takes nothing before its process runs, so
  # whatever came since the start was only noted.
  defp tell(state) do
    state = Enum.reduce(groups(state), state, &write(&2, "watch", &1))

    state.pending
    |> Enum.sort()
    |> Enum.reduce(state, fn {order, _ref}, state ->
      [op, group] = String.split(order)
      order(state, op, group)
    end)
  end

  defp groups(state),
    do: for({_monitor, {_owner, _os_pid, group}} <- state.watched, uniq: true, do: group)

  defp answer(state) do
    Enum.each(state.waiting, &GenServer.reply(&1, :ok))
    %{state | waiting: []}
  end

  # An order stands until the shell reports it as done.
  defp order(state, op, group) do
    ref = make_ref()
    order = "#{op} #{group}"
    Process.send_after(self(), {:late, order, ref}, @late)
    write(%{state | pending: Map.put(state.pending, order, ref)}, op, group)
  end

  defp write(%State{ready: false} = state, _op, _group), do: state

  defp write(state, op, group) do
    # A full pipe means that the shell does not read:
    # replace it, and the next learns of this order.
    unless offer(state.port, "#{op} #{group}\n"), do: replace(state)
    state
  end

  defp offer(port, line) do
    :erlang.port_command(port, line, [:nosuspend])
  rescue
    ArgumentError -> false
  end

  # Only kills the shell. The port then reports its end, and the guard starts the next.
  defp replace(%State{os_pid: nil}), do: :ok
  defp replace(%State{os_pid: os_pid}), do: OSProcess.kill_group(os_pid)
end
