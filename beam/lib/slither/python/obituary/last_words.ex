defmodule Slither.Python.Obituary.LastWords do
  @moduledoc false
  # The end of a dead worker's standard error that nobody had read yet, where C code says why it
  # has given up. The worker's owner opens that pipe, by the worker's descriptor, once the worker
  # is ready, and reads it when the worker is gone.
  #
  # A read of an empty pipe would wait for ever, so the owner first writes zeros to the pipe. A
  # write to a full pipe waits for a reader, so a process of this module reads.

  alias Slither.Python.OSProcess

  @pad :binary.copy(<<0>>, 4_096)
  # The most bytes that are kept of it, from the end.
  @told 4_096
  # ms that the owner waits for the reader.
  @patience 1_000

  defstruct [:file, :reader]

  @type t :: %__MODULE__{}

  @doc """
  Takes hold of the pipe that a worker's ready tells of, `place`; nil where there is none to be had.
  """
  @spec hold(term, term) :: t | nil
  def hold(os_pid, place) do
    case OSProcess.descriptor(os_pid, place) do
      {:ok, path} -> open(path)
      :error -> nil
    end
  end

  defp open(path) do
    with {:ok, file} <- :file.open(path, [:raw, :read, :write, :binary]) do
      owner = self()
      {reader, monitor} = spawn_monitor(fn -> reader(path, owner) end)

      receive do
        {:open, ^reader} ->
          Process.demonitor(monitor, [:flush])
          %__MODULE__{file: file, reader: reader}

        {:DOWN, ^monitor, :process, ^reader, _reason} ->
          :ok = :file.close(file)
          nil
      end
    else
      {:error, _reason} -> nil
    end
  end

  @doc "The last of what is in the pipe; the worker is dead. What is held is let go of."
  @spec read(t | nil) :: binary
  def read(nil), do: ""

  def read(%__MODULE__{reader: reader} = words) do
    ref = Process.monitor(reader)
    send(reader, {:read, ref})
    _ = :file.write(words.file, @pad)
    _ = :file.close(words.file)

    receive do
      {^ref, text} ->
        Process.demonitor(ref, [:flush])
        text

      {:DOWN, ^ref, :process, _pid, _reason} ->
        ""
    after
      @patience -> ""
    end
  end

  defp reader(path, owner) do
    monitor = Process.monitor(owner)

    with {:ok, file} <- :file.open(path, [:raw, :read, :write, :binary]) do
      send(owner, {:open, self()})

      receive do
        {:read, ref} -> send(owner, {ref, rest(file, "")})
        {:DOWN, ^monitor, :process, _owner, _reason} -> :ok
      end
    end
  end

  # A read waits until it has all bytes that it asks for, so it asks for no more than the pad has.
  # Other processes may write before the owner's pad gets into the pipe: read on until it comes.
  defp rest(file, last) do
    {:ok, piece} = :file.read(file, byte_size(@pad))
    text = last <> piece

    if :binary.last(piece) == 0,
      do: text |> String.trim_trailing(<<0>>) |> ending(),
      else: rest(file, ending(text))
  end

  @doc "The end of a text, as much of it as is told."
  @spec ending(binary) :: binary
  def ending(text) when byte_size(text) <= @told, do: text
  def ending(text), do: binary_part(text, byte_size(text) - @told, @told)
end
