defmodule Slither.Python.Obituary.Marker do
  @moduledoc false
  # Memory of a worker's that outlives it. The worker's owner opens it by the worker's descriptor,
  # and reads it after the worker's death. In the first eight bytes the worker notes the call that
  # it runs, which takes no system call and tells that call from those that
  # had not begun. The next eight say what that call is at, where its items have a time each. Behind them, each filled up with zeros, are the end of
  # the standard error that the worker has logged, and the part that it has
  # read but not logged yet. Python's report of a fatal signal comes last.
  #
  # The memory has no name in the file system: another user could make
  # a named file first, a named file would stay behind if worker and
  # BEAM ended at once, and the folder for such files can be full.

  alias Slither.Python.OSProcess

  # Bytes of the parts: the call and what it is at, logged, read but not logged, and at most of the report.
  @head 16
  @told 4_096
  @untold 131_072
  @report 1_048_576
  # Bytes of the blocks in which zeros are left out.
  @block 4_096
  @zeros :binary.copy(<<0>>, @block)

  # What a worker notes in place of an item's number, and of its clock: units in a ms, and how many
  # there are until it begins anew.
  @list 0xFFFFFF
  @unit 10
  @wraps 0x10000000000

  @type t :: :file.io_device() | nil

  @doc "Opens the memory that a worker's hello tells of; nil where there is none to be had."
  @spec open(map) :: t
  def open(facts) do
    with {:ok, path} <- OSProcess.descriptor(facts["pid"], facts["marker"]),
         {:ok, file} <- :file.open(path, [:raw, :read, :binary]) do
      file
    else
      _none -> nil
    end
  end

  @doc "The call that was running, 0 for none."
  @spec read(t) :: {:ok, non_neg_integer} | :error
  def read(nil), do: :error

  def read(file) do
    case :file.pread(file, 0, 8) do
      {:ok, <<id::64-little>>} -> {:ok, id}
      _ -> :error
    end
  end

  @doc """
  What a call is at, since how many ms: one of its items, by its number from 0, or the list of them
  all; `:none` where it is at none of them now, or does not run. `:error` where it is not known.
  """
  @spec at(t, pos_integer) ::
          {:item, non_neg_integer, non_neg_integer} | {:list, non_neg_integer} | :none | :error
  def at(nil, _call), do: :error

  # Both processes must have the same clock.
  def at(file, call) do
    with {:ok, <<id::64-little, at::40-little, what::24-little>>} <- :file.pread(file, 0, @head),
         {:ok, now} <- clock() do
      since = now |> Kernel.-(at) |> Integer.mod(@wraps) |> since()

      cond do
        id != call or what == 0 -> :none
        what == @list -> {:list, since}
        true -> {:item, what - 1, since}
      end
    else
      _unknown -> :error
    end
  end

  # What is to come, as a handler on an event loop notes it, is far ahead on a clock that wraps.
  defp since(units) when units > div(@wraps, 2), do: div(units - @wraps, @unit)
  defp since(units), do: div(units, @unit)

  defp clock do
    source = :erlang.system_info(:os_monotonic_time_source)

    if source[:clock_id] == :CLOCK_MONOTONIC,
      do: {:ok, div(System.convert_time_unit(source[:time], :native, :microsecond), 100)},
      else: :error
  end

  @doc "What was reported of a fatal signal: where each thread was."
  @spec report(t) :: binary
  def report(nil), do: ""

  def report(file) do
    case :file.pread(file, @head + @told + @untold, @report) do
      {:ok, text} -> text
      _ -> ""
    end
  end

  @doc "The last that the worker has read of its standard error, in the call that was running."
  @spec words(t) :: binary
  def words(nil), do: ""

  def words(file) do
    case :file.pread(file, @head, @told + @untold) do
      {:ok, <<told::binary-size(@told), untold::binary>>} -> filled(told) <> filled(untold)
      _ -> ""
    end
  end

  # Most of it is zeros, mostly, and another worker waits for this one's end to be told: they are
  # looked at a block at a time.
  defp filled(bytes), do: binary_part(bytes, 0, filled(bytes, byte_size(bytes)))

  defp filled(bytes, size) when size >= @block do
    if binary_part(bytes, size - @block, @block) == @zeros,
      do: filled(bytes, size - @block),
      else: used(bytes, size)
  end

  defp filled(bytes, size), do: used(bytes, size)

  defp used(_bytes, 0), do: 0

  defp used(bytes, size),
    do: if(:binary.at(bytes, size - 1) == 0, do: used(bytes, size - 1), else: size)

  @doc "Closes it."
  @spec close(t) :: :ok
  def close(nil), do: :ok

  def close(file) do
    _ = :file.close(file)
    :ok
  end
end
