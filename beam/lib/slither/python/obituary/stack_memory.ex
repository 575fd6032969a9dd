defmodule Slither.Python.Obituary.StackMemory do
  @moduledoc false
  # Memory in which a worker answers where each of its threads is. The worker's owner opens it by
  # the worker's descriptor, empties it, asks by a signal, and looks until the answer is whole.
  #
  # First in it stand the signal for the main thread, that for a thread which only waits for it, and
  # the latter's number in the system. Behind them are the names of threads. Python's faulthandler
  # appends its answer, in the thread that gets the signal, whatever the others are at.
  #
  # The main thread is asked while it computes, when its frames change. While it waits in a system
  # call, the other is: a signal would end that call, and not all code in C goes on with it then. A
  # signal that the process has not set this up for would end it. So each time its owner checks
  # that it still has the memory open: a process that has become another program has not.

  import Bitwise

  alias Slither.Python.{Guard, OSProcess}
  alias Slither.Python.Obituary.Stack

  # Bytes of a row for a thread's name, how many there are, and at most of an answer.
  @name 48
  @row 16 + @name
  @rows 128
  @answer 1_048_576
  @signals 24
  @head @signals + @row * @rows

  @enforce_keys [:file, :os_pid, :place]
  defstruct @enforce_keys

  @type t :: %__MODULE__{file: :file.io_device(), os_pid: pos_integer, place: list}
  @typedoc """
  How far the answer is: it is there; it is not and its process computes, or waits for something; or
  it won't come, as the process is stopped, holds the signal back, or is gone.
  """
  @type progress :: :done | :computes | :waits | :never

  @typedoc "The signal that was sent, and the thread that answers it, nil for the main one."
  @type asked :: {signal :: pos_integer, thread :: pos_integer | nil}

  @doc "Opens the memory that a worker's hello tells of; nil where there is none to be had."
  @spec open(map) :: t | nil
  def open(facts) do
    with {:ok, path} <- OSProcess.descriptor(facts["pid"], facts["stacks"]),
         {:ok, file} <- :file.open(path, [:raw, :read, :write, :binary]) do
      %__MODULE__{file: file, os_pid: facts["pid"], place: facts["stacks"]}
    else
      _none -> nil
    end
  end

  @doc "Asks; `:error` where the worker can't be asked."
  @spec ask(t | nil) :: {:ok, asked} | :error
  def ask(nil), do: :error

  def ask(%__MODULE__{file: file, os_pid: os_pid} = memory) do
    with {:ok, _path} <- OSProcess.descriptor(os_pid, memory.place),
         {:ok, <<signals::binary-size(@signals)>>} <- :file.pread(file, 0, @signals),
         {:ok, status} <- OSProcess.proc(os_pid, "status"),
         {signal, _thread} = asked when signal in 1..64 <- choose(signals, status),
         {:ok, @head} <- :file.position(file, @head),
         :ok <- :file.truncate(file) do
      Guard.signal(os_pid, signal)
      {:ok, asked}
    else
      _not_now -> :error
    end
  end

  # A main thread that holds its signal back, by code of the user's, is not asked either.
  defp choose(<<busy::64-little, waits::64-little, thread::64-little>>, status) do
    computes? = field(status, "State") =~ ~r/^R/ and not has?(status, busy).held?
    if waits == 0 or (computes? and busy > 0), do: {busy, nil}, else: {waits, thread}
  end

  @doc "How far the answer is. The signal is held back from a thread while that answers."
  @spec progress(t, asked) :: progress
  def progress(%__MODULE__{} = memory, {signal, thread}) do
    name = if thread, do: "task/#{thread}/status", else: "status"

    case OSProcess.proc(memory.os_pid, name) do
      {:ok, status} -> progress(field(status, "State"), has?(status, signal), begun?(memory))
      {:error, _gone} -> :never
    end
  end

  defp progress(<<state, _rest::binary>>, _has?, _begun?) when state in 'TtZX', do: :never
  defp progress(_state, %{pending?: false, held?: false}, true), do: :done
  defp progress(_state, %{pending?: true, held?: true}, false), do: :never
  defp progress("R" <> _running, _has?, _begun?), do: :computes
  defp progress(_state, _has?, _begun?), do: :waits

  defp has?(status, signal) do
    pending? = set?(status, "SigPnd", signal) or set?(status, "ShdPnd", signal)
    %{pending?: pending?, held?: set?(status, "SigBlk", signal)}
  end

  defp set?(status, mask, signal) do
    case Integer.parse(field(status, mask), 16) do
      {bits, _rest} -> (bits >>> (signal - 1) &&& 1) == 1
      :error -> false
    end
  end

  defp field(status, name) do
    case String.split(status, "\n#{name}:\t", parts: 2) do
      [_before, rest] -> rest |> String.split("\n", parts: 2) |> hd()
      [_none] -> ""
    end
  end

  defp begun?(%__MODULE__{file: file}), do: match?({:ok, _byte}, :file.pread(file, @head, 1))

  @doc "The answer, as far as it is there: where each thread is, without what is Slither's own."
  @spec read(t) :: Stack.t() | nil
  def read(%__MODULE__{file: file}) do
    with {:ok, report} <- :file.pread(file, @head, @answer),
         {:ok, rows} <- :file.pread(file, @signals, @row * @rows) do
      [{main, _count, _name} | _others] = rows = rows(rows)
      names = for {thread, _count, name} <- Enum.sort_by(rows, &elem(&1, 1)), do: {thread, name}
      Stack.new(report, main, Map.new(names))
    else
      _nothing -> nil
    end
  end

  defp rows(bytes) do
    for <<thread::64-little, count::64-little, name::binary-size(@name) <- bytes>>,
      do: {thread, count, String.trim_trailing(name, <<0>>)}
  end

  @doc "Closes it."
  @spec close(t | nil) :: :ok
  def close(nil), do: :ok

  def close(%__MODULE__{file: file}) do
    _ = :file.close(file)
    :ok
  end
end
