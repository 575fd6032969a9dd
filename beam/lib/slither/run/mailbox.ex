defmodule Slither.Run.Mailbox do
  @moduledoc false
  # The messages of one run, among all that the process which drives it gets: what lanes and the
  # scheduler tell its inboxes, the timers it starts and the ends of processes it watches. Each
  # flow of a run, and each stage that waits for a timer, has an inbox of its own, known by a key.
  #
  # Used by the drivers of runs, in their own process: `open/0`, then `await/2` or, for a process
  # that gets other messages too, `match/2`; `close/1` leaves nothing of the run behind.

  alias Slither.Python.Inbox

  @type t :: reference

  @typedoc "What an inbox was told, the end of a process that it watches, or a timer that ran out."
  @type message ::
          Inbox.message()
          | {:down, monitor :: reference, reason :: term}
          | {:timer, timer :: reference}

  @doc """
  A mailbox in the calling process.

  Messages that the process had before cost the run nothing: `await/2` begins to look behind them.
  The VM notes the place in the queue where an alias was made, if the compiler sees that a receive of
  the same module follows it, and keeps the note while another may. `emptied/1` shows it both.
  """
  @spec open() :: t
  def open, do: emptied(:erlang.alias())

  @doc "The inbox that a key names."
  @spec inbox(t, key :: term) :: Inbox.t()
  def inbox(mailbox, key), do: {mailbox, key}

  @doc "Watches a process for an inbox."
  @spec monitor(Inbox.t(), pid) :: reference
  def monitor(inbox, pid), do: :erlang.monitor(:process, pid, tag: inbox)

  @doc "Spawns a process whose end the inbox is told."
  @spec spawn_monitor(Inbox.t(), (() -> any)) :: {pid, reference}
  def spawn_monitor(inbox, fun), do: :erlang.spawn_opt(fun, monitor: [tag: inbox])

  @doc "Starts a timer for an inbox, in ms."
  @spec start_timer(Inbox.t(), non_neg_integer) :: reference
  def start_timer(inbox, time), do: :erlang.start_timer(time, self(), {:slither_timer, inbox})

  @doc "Waits for the next message of the run, for at most so many ms."
  @spec await(t, timeout) :: {key :: term, message} | :timeout
  def await(mailbox, timeout \\ :infinity), do: next(mailbox, timeout)

  defp next(mailbox, timeout) do
    receive do
      {{^mailbox, key}, message} -> {key, message}
      {{^mailbox, key}, monitor, :process, _pid, reason} -> {key, {:down, monitor, reason}}
      {:timeout, timer, {:slither_timer, {^mailbox, key}}} -> {key, {:timer, timer}}
    after
      timeout -> :timeout
    end
  end

  @doc "What a message that the process got says to the run, if it is one of the run's."
  @spec match(t, term) :: {key :: term, message} | :unknown
  def match(mailbox, {{mailbox, key}, message}), do: {key, message}

  def match(mailbox, {{mailbox, key}, monitor, :process, _pid, reason}),
    do: {key, {:down, monitor, reason}}

  def match(mailbox, {:timeout, timer, {:slither_timer, {mailbox, key}}}),
    do: {key, {:timer, timer}}

  def match(_mailbox, _other), do: :unknown

  @doc "Takes back what is there, and lets nothing more in."
  @spec close(t) :: :ok
  def close(mailbox) do
    :erlang.unalias(mailbox)
    _ = emptied(mailbox)
    :ok
  end

  # The second call looks redundant and is not. The compiler has the
  # VM remember the alias's place in the queue only if a call that is
  # not a tail call, and another receive, follow here: see `open/0`.
  defp emptied(mailbox) do
    case next(mailbox, 0) do
      :timeout ->
        mailbox

      _message ->
        _ = emptied(mailbox)
        emptied(mailbox)
    end
  end
end
