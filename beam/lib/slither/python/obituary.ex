defmodule Slither.Python.Obituary do
  @moduledoc false
  # Why a worker's process ended, in sentences: pure, for the worker's owner. `Marker` and
  # `LastWords` beside it read what the process has left behind.

  alias Slither.Error
  alias Slither.Protocol.Frame
  alias Slither.Python.{Call, Limit, OSProcess, Target, Transport}
  alias Slither.Python.Memory.{Size, Watched}
  alias Slither.Python.Obituary.Stack

  @fatal ~r/^Fatal Python error: (.+)$/m
  @signals %{
    "Illegal instruction" => 4,
    "Aborted" => 6,
    "Bus error" => 7,
    "Floating-point exception" => 8,
    "Floating point exception" => 8,
    "Segmentation fault" => 11
  }
  # Characters of a line on standard error that a hint tells.
  @said 200

  @typedoc "Which process is meant: its pool, its slot, and its pid in the system."
  @type identity :: %{pool: atom, worker: non_neg_integer, os_pid: pos_integer | nil}

  @doc """
  It ended by itself. `status` is nil where only the end of its transport was seen, and `:template`
  where the process ended that had forked it; `unheard?` where nothing was seen, though it is gone.
  """
  @spec ended(identity, Transport.status(), unheard? :: boolean) :: Error.t()
  def ended(identity, :template, _unheard?) do
    message = "Python worker #{identity.worker} (pid #{identity.os_pid}) ended with its template"

    hint =
      "the process that it was forked from ended, and takes its workers with it: the log says how"

    details = %{status: nil, signal: nil, os_pid: identity.os_pid}
    %{error(identity.pool, :worker_died, message) | hint: hint, details: details}
  end

  def ended(identity, status, unheard?) do
    how = if status, do: OSProcess.describe(status), else: unknown(unheard?)

    message = "Python worker #{identity.worker} (pid #{identity.os_pid}) died: #{how}"
    signal = OSProcess.signal(status)
    details = %{status: status, signal: signal, os_pid: identity.os_pid}
    %{error(identity.pool, :worker_died, message) | hint: hint(status), details: details}
  end

  @doc """
  The same of a SIGKILL, where the kernel has counted a kill for want of memory in a file just then;
  nil for none.
  """
  @spec killed_by_kernel(Error.t(), Path.t() | nil) :: Error.t()
  def killed_by_kernel(died, nil), do: died

  def killed_by_kernel(%Error{message: message, details: details} = died, file) do
    %{
      died
      | message: message <> " by the kernel, for want of memory",
        hint:
          "oom_kill has risen in #{file}; fewer or smaller workers, or max_memory, which ends a " <>
            "worker sooner",
        details: Map.put(details, :out_of_memory, file)
    }
  end

  defp unknown(true),
    do: "its exit status is not known (a process that it has started may hold its pipe)"

  defp unknown(false), do: "its port closed"

  @doc "It ended before it was ready, with a status if that is known; `why` is what is known else."
  @spec ended_early(atom, String.t(), String.t(), Transport.status()) :: Error.t()
  def ended_early(pool, python, why, nil), do: not_started(pool, python, why)

  def ended_early(pool, python, why, :template),
    do: not_started(pool, python, "#{why}; it ended with its template")

  def ended_early(pool, python, why, status),
    do: not_started(pool, python, "#{why}; it ended with #{OSProcess.describe(status)}")

  @doc "A line for the log: what happened, and the call that the worker ran, `nil` for none."
  @spec line(Error.t(), Call.t() | nil) :: String.t()
  def line(error, nil), do: "#{Exception.message(error)}; it ran no call"

  def line(error, %Call{batch: batch} = call),
    do: "#{Exception.message(error)}; it ran #{Target.name(Call.target(call))}, batch #{batch}"

  @doc """
  The status of an end that Python's report tells of, for where the port closed before it was known:
  who writes to a dead process closes it. `nil` without a report.
  """
  @spec told(binary) :: non_neg_integer | nil
  def told(report) do
    with [_, what] <- Regex.run(@fatal, report),
         %{^what => signal} <- @signals,
         do: 128 + signal,
         else: (_unknown -> nil)
  end

  @doc """
  Adds to why a process ended what is known of its end: the call that it ran, what it wrote to its
  standard error last, and Python's report of a fatal signal.
  """
  @spec account(Error.t(), map, binary, binary) :: Error.t()
  def account(error, facts, stderr, report) do
    stderr = Stack.readable(stderr)
    report = Stack.readable(report)

    details =
      error.details
      |> Map.merge(facts)
      |> Map.merge(%{stderr: stderr, fatal_error: Stack.shorten(report)})

    hinted(%{error | details: details}, [crash(report), said(stderr)])
  end

  @doc """
  Adds where the process was, which is killed now: the stack that it was asked for before, nil where
  it gave none.
  """
  @spec stack(Error.t(), Stack.t() | nil) :: Error.t()
  def stack(error, nil), do: %{error | details: Map.put(error.details, :stack, nil)}

  def stack(error, %Stack{text: text, places: places}) do
    error = %{error | details: Map.put(error.details, :stack, text)}
    hinted(error, [if(places != [], do: "it was in #{callers(places)}")])
  end

  defp hinted(error, hints) do
    hints = Enum.filter([error.hint | hints], & &1)
    %{error | hint: if(hints != [], do: Enum.join(hints, "; "))}
  end

  defp callers(places), do: Enum.join(places, ", called by ")

  # Where the worker was, innermost first, up to the first frame of Slither's own.
  defp crash(report) do
    case {Regex.run(@fatal, report), Stack.crashed_at(report)} do
      {nil, _places} -> nil
      {[_, what], []} -> what
      {[_, what], places} -> "#{what} in #{callers(places)}"
    end
  end

  defp said(stderr) do
    case stderr |> String.split("\n", trim: true) |> List.last() do
      nil -> nil
      line -> "last on standard error: #{String.slice(line, 0, @said)}"
    end
  end

  @doc "The process was told to stop."
  @spec stopped() :: Error.t()
  def stopped, do: %Error{reason: :worker_stopped, message: "the worker was stopped"}

  @doc "It was told to, and had not after `shutdown` ms."
  @spec not_stopped(non_neg_integer) :: Error.t()
  def not_stopped(shutdown) do
    message = "a Python worker did not stop within #{shutdown} ms: killed"
    %{stopped() | message: message}
  end

  @doc "Nobody waited any more for the call that ran, and it went on for `grace` ms."
  @spec cancelled(atom, non_neg_integer) :: Error.t()
  def cancelled(pool, grace) do
    message = "the caller is gone, and the call went on for #{grace} ms; its worker was killed"
    error(pool, :cancelled, message)
  end

  @doc "The call that ran was over its time."
  @spec timed_out(atom, Call.t()) :: Error.t()
  def timed_out(pool, %Call{timeout: timeout} = call) do
    overdue(pool, Limit.of_call(timeout, if(call.given?, do: timeout), call.items))
  end

  @doc "The call that ran was over its time, of which this is known."
  @spec overdue(atom, Limit.facts()) :: Error.t()
  def overdue(pool, facts),
    do: %{Limit.overdue(facts, "the call", "its worker was killed") | where: where(pool)}

  @doc "An item of the call was over its time, by its number in what was sent; or their list was."
  @spec item_timed_out(atom, Call.t(), {:item, non_neg_integer} | :list) :: Error.t()
  def item_timed_out(pool, %Call{item_timeout: limit}, {:item, at}) do
    error = Limit.overdue(Limit.of_item(limit), "the item", "its worker was killed")
    %{error | where: where(pool), details: Map.put(error.details, :at, at)}
  end

  def item_timed_out(pool, %Call{item_timeout: limit, items: items}, :list),
    do: overdue(pool, Limit.of_items(limit, items))

  @doc "Its processes took more memory than they may; the call that ran is to blame."
  @spec too_large(identity, Watched.facts()) :: Error.t()
  def too_large(identity, facts) do
    took = "#{Size.words(facts.taken)}, and max_memory is #{Size.words(facts.limit)}"

    message =
      "Python worker #{identity.worker} (pid #{identity.os_pid}) took #{took}; it was killed"

    details = Map.put(facts, :os_pid, identity.os_pid)
    %{error(identity.pool, :memory, message) | hint: largest(facts), details: details}
  end

  @doc "They did before it was ready."
  @spec too_large_at_start(atom, String.t(), Watched.facts()) :: Error.t()
  def too_large_at_start(pool, python, facts) do
    why =
      "it took #{Size.words(facts.taken)} as it started, and max_memory is " <>
        Size.words(facts.limit)

    error = not_started(pool, python, why)
    %{error | hint: largest(facts), details: Map.merge(error.details, facts)}
  end

  @less "raise max_memory, or give it less at a time"

  defp largest(%{processes: [_alone]}), do: @less

  defp largest(%{processes: [%{os_pid: os_pid, name: name, bytes: bytes} | _others]}),
    do: "#{Size.words(bytes)} of it by #{name} (pid #{os_pid}); #{@less}"

  @doc "It can't start."
  @spec not_started(atom, String.t(), String.t()) :: Error.t()
  def not_started(pool, python, why) do
    error = error(pool, :start_failed, "a Python worker can't start: #{why}")
    %{error | details: %{python: python}}
  end

  @doc "It was not ready in time."
  @spec not_ready(atom, String.t(), pos_integer) :: Error.t()
  def not_ready(pool, python, timeout) do
    error = not_started(pool, python, "it was not ready after #{timeout} ms")
    %{error | hint: "raise startup_timeout, or look at what its preload modules do"}
  end

  @doc "It can't start, in Python's words."
  @spec failed(atom, String.t(), Error.t()) :: Error.t()
  def failed(pool, python, error) do
    failed = not_started(pool, python, error.message)
    %{failed | python: error.python, details: error.details}
  end

  @doc "It speaks another version of the protocol."
  @spec mismatch(atom, String.t(), non_neg_integer) :: Error.t()
  def mismatch(pool, python, version) do
    why =
      "it speaks protocol #{version}, this BEAM speaks #{Frame.version()}; " <>
        "install the slither-beam package of this version"

    %{not_started(pool, python, why) | reason: :version_mismatch}
  end

  @doc "It broke the protocol."
  @spec protocol(atom, non_neg_integer, String.t()) :: Error.t()
  def protocol(pool, slot, why),
    do: error(pool, :protocol_error, "Python worker #{slot} broke the protocol: #{why}")

  @doc "The process that owned it ended. Nobody but its pool's supervisor shuts it down."
  @spec crashed(term) :: Error.t()
  def crashed(:shutdown), do: %Error{reason: :pool_unavailable, message: "the pool stopped"}

  def crashed(reason) do
    message = "the worker's owner ended: #{Exception.format_exit(reason)}"
    %Error{reason: :worker_died, message: message}
  end

  defp error(pool, reason, message),
    do: %Error{reason: reason, message: message, where: where(pool)}

  defp where(pool), do: "pool #{inspect(pool)}"

  defp hint(137), do: "often the kernel's out-of-memory killer, or kill -9"
  defp hint(status) when status in [132, 134, 135, 136, 139], do: "a crash in C code"
  defp hint(152), do: "it has used the time of cores that rlimits: [cpu: …] gives it"
  defp hint(153), do: "it has written more to a file than rlimits: [fsize: …] gives it"
  defp hint(_status), do: nil
end
