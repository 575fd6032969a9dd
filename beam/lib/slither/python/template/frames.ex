defmodule Slither.Python.Template.Frames do
  @moduledoc false
  # What is asked of a template, and what it says, frame by frame. Runs in the process of its owner,
  # `Slither.Python.Template`, which calls it.

  import Slither.Python.Template.Fates

  alias Slither.Protocol.Frame
  alias Slither.Python.{Asks, Fault, Handshake, Obituary, Sources, Transport, Voice}
  alias Slither.Python.Obituary.{Marker, StackMemory}
  alias Slither.Python.Template.{Brood, State}
  alias Slither.Telemetry.Events

  # ms within which a template forks, unless it hangs.
  @late 5_000
  # It gets its log credit back so many at a time.
  @credit_step 50

  @doc "Has it fork a worker with these variables."
  @spec ask(State.t(), Brood.who(), [{charlist, charlist | false}]) :: State.t()
  def ask(%State{process: process} = state, who, variables) do
    {call, brood} = Brood.ask(state.brood, who)
    later({:late, call}, @late)
    changed = Map.new(changed(process.variables, variables))
    frame = Frame.encode!({:call, call, ["fork"], %{}, 0, 1, [changed]})
    state = %{state | brood: brood}

    if Transport.offer(process.transport, frame),
      do: state,
      else: hung(state, "it reads nothing")
  end

  # What is there in the template and not in the worker is taken away.
  defp changed(own, variables) do
    gone = for {name, _value} <- own, not List.keymember?(variables, name, 0), do: {name, false}

    for {name, value} <- variables ++ gone,
        List.keyfind(own, name, 0) != {name, value},
        do: {to_string(name), if(value, do: to_string(value))}
  end

  @doc "Hands a worker that has come in over to its owner."
  @spec give(State.t(), Brood.who(), pos_integer, Transport.t()) :: State.t()
  def give(state, {owner, _ref} = who, os_pid, socket) do
    case :gen_tcp.controlling_process(socket.socket, owner) do
      :ok ->
        python = state.process.python
        forked = %{socket: socket, os_pid: os_pid, python: python, template: self()}
        reply(state, who, {:forked, forked})
        state

      # The owner is gone. A worker whose socket closes ends.
      {:error, _gone} ->
        turn_away(state, [socket])
    end
  end

  @doc "Closes the sockets of whoever is nobody."
  @spec turn_away(State.t(), [Transport.t()]) :: State.t()
  def turn_away(state, sockets) do
    for socket <- sockets, do: :gen_tcp.close(socket.socket)
    state
  end

  @doc "Reads a frame's body."
  @spec read(State.t(), binary) :: {:noreply, State.t()} | {:stop, :normal, State.t()}
  def read(%State{settings: %{max_frame: most}} = state, body) when byte_size(body) > most,
    do: {:noreply, broken(state, "a frame of #{byte_size(body)} bytes; one holds #{most}")}

  def read(state, body) do
    case Frame.peek(body) do
      {:view_call, id} ->
        asked(state, Asks.view(state.asks, id, body, 0, nil))

      {:table_call, id} ->
        asked(state, Asks.table(state.asks, id, body))

      _control ->
        case Frame.decode(body) do
          {:ok, frame} -> frame(frame, state)
          {:error, why} -> {:noreply, broken(state, why)}
        end
    end
  end

  defp asked(state, {:ok, asks}), do: {:noreply, %{state | asks: asks}}
  defp asked(state, {:error, why}), do: {:noreply, broken(state, why)}

  defp frame({:hello, version, facts}, %State{phase: :starting} = state) do
    Logger.metadata(os_pid: facts["pid"])
    state = %{state | marker: Marker.open(facts), stacks: StackMemory.open(facts)}
    opened = %{marker: state.marker != nil, stacks: state.stacks != nil}
    tell(state, Handshake.welcome_template(state.settings, state.door, opened))

    if Handshake.understood?(version),
      do: {:noreply, state},
      else: {:noreply, fail(state, &Obituary.mismatch(&1, &2, version))}
  end

  defp frame({:ready, facts}, %State{phase: :starting, reason: nil} = state) do
    if state.startup, do: Process.cancel_timer(state.startup)
    state = looked(%{state | overdue: nil}, {:over, nil})
    StackMemory.close(state.stacks)
    state = %{state | stacks: nil}

    case facts do
      %{"refused" => nil} -> settle(ready(state))
      %{"refused" => why} -> {:stop, :normal, refused(state, why)}
      _worker -> {:stop, :normal, refused(state, "#{state.process.python} is a worker at once")}
    end
  end

  defp frame({:failed, fault}, %State{phase: :starting} = state),
    do: {:noreply, fail(state, &Obituary.failed(&1, &2, Fault.to_error(fault)))}

  defp frame({:log, _, _, _, _, _, _} = frame, state) do
    voice = Voice.log(state.voice, frame, [])
    {:noreply, give_credit(%{state | voice: voice, owed: state.owed + 1})}
  end

  defp frame({:part, call, 0, [os_pid], nil}, state) when is_integer(os_pid) do
    case Brood.forked(state.brood, call, os_pid) do
      {:ok, come, strangers, brood} ->
        state = turn_away(%{state | brood: brood}, strangers)
        give = with {who, socket} <- come, do: give(state, who, os_pid, socket)
        {:noreply, give || state}

      :error ->
        {:noreply, broken(state, "a worker that nobody has asked for")}
    end
  end

  defp frame({:result, call, [status], _errors, _timing}, state) do
    case Brood.ended(state.brood, call) do
      {nil, _brood} ->
        {:noreply, broken(state, "the end of no worker")}

      {{os_pid, who, in?}, brood} ->
        ended(state, os_pid, who, in?, status)
        settle(%{state | brood: brood})
    end
  end

  defp frame({:error, call, fault}, state) when call > 0 do
    {who, brood} = Brood.failed(state.brood, call)
    error = Obituary.failed(state.settings.name, state.process.python, Fault.to_error(fault))
    if who, do: reply(state, who, {:error, error})
    settle(%{state | brood: brood})
  end

  # Told by one that can't import them. Of others their workers tell it.
  defp frame({:modules, modules}, %State{settings: %{sources: sources}} = state) do
    if sources, do: Sources.told(sources, modules)
    {:noreply, state}
  end

  defp frame({:ping, token}, state) do
    tell(state, {:pong, token})
    {:noreply, state}
  end

  # What else a worker may say at its start: of a template, nobody waits for it.
  defp frame(frame, state) when elem(frame, 0) in [:progress, :metrics, :pong, :spans],
    do: {:noreply, state}

  defp frame(frame, state),
    do: {:noreply, broken(state, "a #{elem(frame, 0)} frame is not for BEAM, or not now")}

  defp give_credit(%State{owed: owed} = state) when owed < @credit_step, do: state

  defp give_credit(%State{owed: owed} = state),
    do: if(tell(state, {:credit, 0, owed}), do: %{state | owed: 0}, else: state)

  defp tell(state, frame), do: Transport.offer(state.process.transport, Frame.encode!(frame))

  defp ready(state) do
    Events.template_up(state.born, facts(state))
    state = tell_keeper(%{state | phase: :ready, at: System.monotonic_time()}, :ready)
    waiting = Enum.reverse(state.waiting)

    Enum.reduce(waiting, %{state | waiting: []}, fn {who, vars}, state ->
      ask(state, who, vars)
    end)
  end
end
