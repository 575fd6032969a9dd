defmodule Slither.Python.Marker do
  @moduledoc false
  # Eight bytes of a file in which a worker notes the call it runs. They are read only after
  # its death, to tell that call from those it had not begun, and cost a worker no system call.

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

  @doc "Closes and removes the file."
  @spec close({:file.io_device(), Path.t()} | nil) :: :ok
  def close(nil), do: :ok

  def close({file, _path} = marker) do
    _ = :file.close(file)
    hide(marker)
  end

  defp folder, do: if(File.dir?("/dev/shm"), do: "/dev/shm", else: System.tmp_dir!())
end
