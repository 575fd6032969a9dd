defmodule Slither.Python.WorkerError do
  @moduledoc false
  # What a worker's owner says of its ends, from its state.

  alias Slither.Error
  alias Slither.Protocol.Frame
  alias Slither.Python.{Call, Environment, OSProcess}

  # A frame of Python's report, how many of them a hint names, and characters of a line in one.
  @frame ~r/^  File "(.*)", line (\d+|\?\?\?) in (.+)$/m
  @fatal ~r/^Fatal Python error: (.+)$/m
  @signals %{
    "Illegal instruction" => 4,
    "Aborted" => 6,
    "Bus error" => 7,
    "Floating-point exception" => 8,
    "Floating point exception" => 8,
    "Segmentation fault" => 11
  }
  @places 3
  @said 200

  @doc "Why the process ended; `status` is nil where only the port's end was seen."
  @spec ended(map, non_neg_integer | nil) :: Error.t()
  def ended(%{phase: :stopping}, _status), do: stopped()

  def ended(%{phase: :starting} = state, status) do
    why = Environment.probe(state.python, state.variables)
    message = if status, do: "#{why}; it ended with #{OSProcess.describe(status)}", else: why
    start(state, message)
  end

  def ended(state, status) do
    how = if status, do: OSProcess.describe(status), else: unknown(state)

    %Error{
      reason: :worker_died,
      message: "Python worker #{state.slot} (pid #{state.os_pid}) died: #{how}",
      where: where(state),
      hint: hint(status),
      details: %{status: status, signal: OSProcess.signal(status), os_pid: state.os_pid}
    }
  end

  defp unknown(%{unheard: true}),
    do: "its exit status is not known (a process that it has started may hold its pipe)"

  defp unknown(_state), do: "its port closed"

  @doc "A line for the log: what happened, and the call that the worker ran, `nil` for none."
  @spec line(Error.t(), Call.t() | nil) :: String.t()
  def line(error, nil), do: "#{Exception.message(error)}; it ran no call"

  def line(error, %Call{batch: batch, head: head}),
    do: "#{Exception.message(error)}; it ran #{target(Frame.call_target(head))}, batch #{batch}"

  defp target([kind, module, name]) when kind in ["function", "each", "apply"],
    do: "#{module}.#{name}"

  defp target(["command", name]), do: name
  defp target(target), do: Enum.join(target, " ")

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
    stderr = readable(stderr)
    report = readable(report)

    details =
      error.details |> Map.merge(facts) |> Map.merge(%{stderr: stderr, fatal_error: report})

    hints = Enum.filter([error.hint, crash(report), said(stderr)], & &1)
    %{error | hint: if(hints != [], do: Enum.join(hints, "; ")), details: details}
  end

  # Where it was, innermost first, up to our own frames.
  defp crash(report) do
    places =
      @frame
      |> Regex.scan(current(report))
      |> Enum.take_while(fn [_, file, _line, _name] -> not (file =~ "/slither/_") end)
      |> Enum.take(@places)
      |> Enum.map(fn [_, file, line, name] -> "#{name} (#{Path.basename(file)}:#{line})" end)

    case {Regex.run(@fatal, report), places} do
      {nil, _places} -> nil
      {[_, what], []} -> what
      {[_, what], places} -> "#{what} in #{Enum.join(places, ", called by ")}"
    end
  end

  # The report of other threads may come before that of the one that failed.
  defp current(report) do
    case String.split(report, "Current thread", parts: 2) do
      [_others, current] -> current |> String.split("\n\n", parts: 2) |> hd()
      [_none] -> ""
    end
  end

  defp said(stderr) do
    case stderr |> String.split("\n", trim: true) |> List.last() do
      nil -> nil
      line -> "last on standard error: #{String.slice(line, 0, @said)}"
    end
  end

  defp readable(bytes) do
    if String.valid?(bytes) do
      bytes
    else
      for char <- String.codepoints(bytes), into: "" do
        if String.valid?(char), do: char, else: "\uFFFD"
      end
    end
  end

  @doc "The process was told to stop."
  @spec stopped() :: Error.t()
  def stopped, do: %Error{reason: :worker_stopped, message: "the worker was stopped"}

  @doc "The call that ran was nobody's any more."
  @spec cancelled(map) :: Error.t()
  def cancelled(state) do
    %Error{
      reason: :cancelled,
      message:
        "the caller is gone, and the call went on for #{state.settings.cancel_grace} ms; its " <>
          "worker was killed",
      where: where(state)
    }
  end

  @doc "The call that runs is over its time."
  @spec timed_out(map) :: Error.t()
  def timed_out(%{calls: [%Call{timeout: timeout} | _]} = state) do
    %Error{
      reason: :timeout,
      message: "the call ran for more than #{timeout} ms; its worker was killed",
      where: where(state),
      hint: "raise timeout:, or lower batch_size",
      details: %{timeout: timeout}
    }
  end

  @doc "The process can't start."
  @spec start(map, String.t()) :: Error.t()
  def start(state, message) do
    %Error{
      reason: :start_failed,
      message: "a Python worker can't start: #{message}",
      where: where(state),
      details: %{python: state.python}
    }
  end

  @doc "The process can't start, in Python's words."
  @spec start_failure(map, Error.t()) :: Error.t()
  def start_failure(state, error),
    do: %{start(state, error.message) | python: error.python, details: error.details}

  @doc "The process speaks another version of the protocol."
  @spec mismatch(map, non_neg_integer) :: Error.t()
  def mismatch(state, version) do
    message =
      "it speaks protocol #{version}, this BEAM speaks #{Frame.version()}; " <>
        "install the slither-beam package of this version"

    %{start(state, message) | reason: :version_mismatch}
  end

  @doc "The process broke the protocol."
  @spec protocol(map, String.t()) :: Error.t()
  def protocol(state, why) do
    %Error{
      reason: :protocol_error,
      message: "Python worker #{state.slot} broke the protocol: #{why}",
      where: where(state)
    }
  end

  defp where(state), do: "pool #{inspect(state.settings.name)}"

  defp hint(137), do: "often the kernel's out-of-memory killer, or kill -9"
  defp hint(status) when status in [132, 134, 135, 136, 139], do: "a crash in C code"
  defp hint(_status), do: nil
end
