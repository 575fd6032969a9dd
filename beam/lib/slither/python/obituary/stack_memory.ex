defmodule Slither.Python.Obituary.StackMemory do
  @moduledoc false
  # Memory in which a worker answers where each of its threads is, and the pipe by which it is asked.
  # The worker's owner opens both by the worker's descriptors, empties the memory, writes a byte to
  # the pipe, and looks until the answer is there. A thread of the worker's waits for that byte. It
  # answers once it has the interpreter's lock, so that no thread goes on as its frames are read.
  #
  # Where code holds the lock and gives it to nobody, the owner forces an answer, by a signal that the
  # same thread gets: Python's faulthandler then answers without the lock. The signal would end a
  # process that has not set this up for it. So the owner first checks that it still has the
  # memory open: a process that has become another program has not.
  #
  # First in the memory stand how often the thread has answered, the signal, 0 for none, and the
  # thread's number in the system. Behind them are the names of threads, and then the answer.

  import Bitwise

  alias Slither.Python.{Guard, OSProcess}
  alias Slither.Python.Obituary.Stack

  # Bytes of a row for a thread's name, how many there are, and at most of an answer.
  @name 48
  @row 16 + @name
  @rows 128
  @answer 1_048_576
  @numbers 24
  @head @numbers + @row * @rows

  @enforce_keys [:file, :pipe, :os_pid, :place]
  defstruct @enforce_keys ++ [asked: 0]

  @typedoc "`asked` counts the bytes that were written to the pipe."
  @type t :: %__MODULE__{
          file: :file.io_device(),
          pipe: :file.io_device(),
          os_pid: pos_integer,
          place: list,
          asked: non_neg_integer
        }
  @typedoc """
  How far the answer is: it is there; or it is not, and the thread that gives it waits for the lock, or
  for a core. It has the signal, and writes, or it has not come to that. Or no answer will come, as the
  process is stopped, or gone.
  """
  @type progress :: :answered | :locked | :waits | :never

  @doc "Opens what a worker's hello tells of; nil where there is none to be had."
  @spec open(map) :: t | nil
  def open(%{"pid" => os_pid, "stacks" => [place, pipe]}) do
    with {:ok, file} <- open(os_pid, place) do
      case open(os_pid, pipe) do
        {:ok, pipe} ->
          %__MODULE__{file: file, pipe: pipe, os_pid: os_pid, place: place}

        _none ->
          _ = :file.close(file)
          nil
      end
    else
      _none -> nil
    end
  end

  def open(_facts), do: nil

  defp open(os_pid, place) do
    with {:ok, path} <- OSProcess.descriptor(os_pid, place),
         do: :file.open(path, [:raw, :read, :write, :binary])
  end

  @doc "Asks; `:error` where the worker can't be asked."
  @spec ask(t | nil) :: {:ok, t} | :error
  def ask(nil), do: :error

  def ask(%__MODULE__{file: file} = memory) do
    with {:ok, answered, _signal, thread} when thread > 0 <- numbers(memory),
         {:ok, _path} <- OSProcess.descriptor(memory.os_pid, memory.place),
         {:ok, @head} <- :file.position(file, @head),
         :ok <- :file.truncate(file) do
      write(memory, answered)
    else
      _not_now -> :error
    end
  end

  # A byte that is still in the pipe asks as well: no more are written, as a full pipe would hold
  # up the owner.
  defp write(%__MODULE__{asked: asked} = memory, answered) when answered < asked,
    do: {:ok, memory}

  defp write(%__MODULE__{asked: asked, pipe: pipe} = memory, _answered) do
    case :file.write(pipe, "?") do
      :ok -> {:ok, %{memory | asked: asked + 1}}
      {:error, _closed} -> :error
    end
  end

  @doc "Asks by the signal; gives that, or nil where the worker can't be asked so."
  @spec force(t) :: pos_integer | nil
  def force(%__MODULE__{os_pid: os_pid} = memory) do
    with {:ok, _answered, signal, _thread} when signal in 1..64 <- numbers(memory),
         {:ok, _path} <- OSProcess.descriptor(os_pid, memory.place) do
      Guard.signal(os_pid, signal)
      signal
    else
      _none -> nil
    end
  end

  @doc "How far the answer is, which was forced by a signal, or nil."
  @spec progress(t, pos_integer | nil) :: progress
  def progress(%__MODULE__{asked: asked} = memory, signal) do
    with {:ok, answered, _signal, thread} <- numbers(memory),
         {:ok, status} <- OSProcess.proc(memory.os_pid, "task/#{thread}/status") do
      cond do
        answered >= asked -> :answered
        field(status, "State") =~ ~r/^[TtZX]/ -> :never
        signal != nil and begun?(memory) and not has?(status, signal) -> :answered
        field(status, "State") =~ ~r/^R/ or (signal != nil and has?(status, signal)) -> :waits
        true -> :locked
      end
    else
      _gone -> :never
    end
  end

  defp numbers(%__MODULE__{file: file}) do
    case :file.pread(file, 0, @numbers) do
      {:ok, <<answered::64-little, signal::64-little, thread::64-little>>} ->
        {:ok, answered, signal, thread}

      _none ->
        :error
    end
  end

  # A signal that is pending, or held back while its handler writes the answer.
  defp has?(status, signal),
    do: Enum.any?(["SigPnd", "ShdPnd", "SigBlk"], &set?(field(status, &1), signal))

  defp set?(mask, signal) do
    case Integer.parse(mask, 16) do
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
         {:ok, rows} <- :file.pread(file, @numbers, @row * @rows) do
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

  @doc "Closes both."
  @spec close(t | nil) :: :ok
  def close(nil), do: :ok

  def close(%__MODULE__{file: file, pipe: pipe}) do
    _ = :file.close(file)
    _ = :file.close(pipe)
    :ok
  end
end
