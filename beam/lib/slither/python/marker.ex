defmodule Slither.Python.Marker do
  @moduledoc false
  # A file that is read after a worker's death. In its first eight bytes, which cost the worker no
  # system call, it notes the call it runs, to tell that from those it had not begun. Behind them
  # stand the end of what it has written to its standard error and told, what of that it has read
  # and not told yet, each filled up with zeros, and what Python reports of a fatal signal.

  # Bytes of these parts, and of the report at most.
  @told 4_096
  @untold 131_072
  @report 16_384

  @doc "A new marker and its path; `{nil, nil}` where no file can be made."
  @spec create() :: {{:file.io_device(), Path.t()} | nil, Path.t() | nil}
  def create do
    path = Path.join(folder(), "slither-#{System.pid()}-#{System.unique_integer([:positive])}")

    with :ok <- File.write(path, <<0::64>>),
         {:ok, file} <- :file.open(path, [:raw, :read, :binary]) do
      {{file, path}, path}
    else
      _ -> {nil, nil}
    end
  end

  @doc "Takes the file's name away once both sides have it open, so that none is left behind."
  @spec hide({:file.io_device(), Path.t()} | nil) :: :ok
  def hide(nil), do: :ok

  def hide({_file, path}) do
    _ = File.rm(path)
    :ok
  end

  @doc "The call that was running, 0 for none."
  @spec read({:file.io_device(), Path.t()} | nil) :: {:ok, non_neg_integer} | :error
  def read(nil), do: :error

  def read({file, _path}) do
    case :file.pread(file, 0, 8) do
      {:ok, <<id::64-little>>} -> {:ok, id}
      _ -> :error
    end
  end

  @doc "What was reported of a fatal signal: where each thread was."
  @spec report({:file.io_device(), Path.t()} | nil) :: binary
  def report(nil), do: ""

  def report({file, _path}) do
    case :file.pread(file, 8 + @told + @untold, @report) do
      {:ok, text} -> text
      _ -> ""
    end
  end

  @doc "The last that the worker has read of its standard error, in the call that was running."
  @spec words({:file.io_device(), Path.t()} | nil) :: binary
  def words(nil), do: ""

  def words({file, _path}) do
    case :file.pread(file, 8, @told + @untold) do
      {:ok, <<told::binary-size(@told), untold::binary>>} -> filled(told) <> filled(untold)
      _ -> ""
    end
  end

  defp filled(bytes), do: String.trim_trailing(bytes, <<0>>)

  @doc "Where the worker makes the pipe of its standard error."
  @spec pipe({:file.io_device(), Path.t()}) :: Path.t()
  def pipe({_file, path}), do: path <> "-stderr"

  @doc "Closes and removes the file."
  @spec close({:file.io_device(), Path.t()} | nil) :: :ok
  def close(nil), do: :ok

  def close({file, _path} = marker) do
    _ = :file.close(file)
    _ = File.rm(pipe(marker))
    hide(marker)
  end

  defp folder, do: if(File.dir?("/dev/shm"), do: "/dev/shm", else: System.tmp_dir!())
end
