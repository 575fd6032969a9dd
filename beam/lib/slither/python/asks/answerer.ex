defmodule Slither.Python.Asks.Answerer do
  @moduledoc false
  # A task that answers what Python asks, one question after the other, and writes the answers to
  # the transport itself: should that be full, the task waits and not the owner. `Slither.Python.Asks`
  # starts tasks and gives them questions. A task ends with its owner, and after a view that left
  # something behind (a message, a word in the dictionary, a link, a flag), so that nothing of one
  # call is there in the next.

  alias Slither.Protocol.Frame
  alias Slither.Python.{Fault, Transport}

  @spent {:shutdown, __MODULE__}

  @doc "Starts one for the calling owner of `transport`; `:busy` where the node has too many."
  @spec start(Transport.t(), pos_integer) :: {:ok, pid} | :busy
  def start(transport, max_frame) do
    owner = self()

    case Task.Supervisor.start_child(Slither.TaskSupervisor, fn ->
           # An owner that is killed runs no `Asks.stop/1`; the link ends the task then.
           Process.link(owner)
           monitor = Process.monitor(owner)
           loop({owner, monitor, transport, max_frame}, traces())
         end) do
      {:ok, pid} -> {:ok, pid}
      {:error, :max_children} -> :busy
    end
  end

  @doc """
  Has it write what `serve` gives as the answer to question `id`; its owner is told afterwards, and
  before that of the answer where `record` is a call and the question's body.
  """
  @spec serve(
          pid,
          pos_integer,
          (() -> {:ok, term} | {:error, map}),
          {pos_integer, binary} | nil
        ) :: :ok
  def serve(pid, id, serve, record) do
    send(pid, {:serve, id, serve, record})
    :ok
  end

  @doc "The frame of an answer, or of why there is none: the longest is `max_frame` bytes."
  @spec frame(pos_integer, {:ok, term} | {:error, map}, pos_integer) :: iodata
  def frame(id, answer, max_frame) do
    with {:ok, frame} <- encode(id, answer),
         :ok <- fits(IO.iodata_length(frame), max_frame) do
      frame
    else
      {:error, why} ->
        {:ok, frame} = Frame.view_reply(id, 1, Fault.to_wire("view_failed", why))
        frame
    end
  end

  @doc "Whether a task that ended for `reason` had answered."
  @spec spent?(term) :: boolean
  def spent?(reason), do: reason == @spent

  defp loop({owner, monitor, transport, max_frame} = place, clean) do
    receive do
      {:serve, id, serve, record} ->
        frame = frame(id, serve.(), max_frame)
        view? = disarm()

        with {call, question} <- record,
             do: tell(owner, {:recorded, call, {question, IO.iodata_to_binary(frame)}})

        Transport.write(transport, frame)
        # Only a view runs the user's code, which may leave something behind.
        if view? and traces() != clean, do: exit(@spent)
        tell(owner, {:answered, self()})
        loop(place, clean)

      {:DOWN, ^monitor, :process, _owner, _reason} ->
        :ok
    end
  end

  @doc "Has the owner told unless the calling task answers question `id` within `timeout` ms."
  @spec arm(pid, pos_integer, pos_integer) :: :ok
  def arm(owner, id, timeout) do
    late = {:late, self(), id, timeout}
    Process.put(__MODULE__, Process.send_after(owner, {__MODULE__, late}, timeout))
    :ok
  end

  defp tell(owner, message), do: send(owner, {__MODULE__, message})

  defp disarm do
    timer = Process.delete(__MODULE__)
    if timer, do: Process.cancel_timer(timer, async: true, info: false)
    timer != nil
  end

  defp fits(size, max_frame) when size <= max_frame, do: :ok

  defp fits(size, max_frame),
    do: {:error, "the answer can't be sent: it takes #{size} bytes; a frame holds #{max_frame}"}

  defp traces do
    Process.info(self(), [
      :dictionary,
      :links,
      :message_queue_len,
      :monitors,
      :priority,
      :trap_exit,
      :group_leader
    ])
  end

  defp encode(id, {:ok, value}), do: Frame.view_reply(id, 0, value)
  defp encode(id, {:error, fault}), do: Frame.view_reply(id, 1, fault)
end
