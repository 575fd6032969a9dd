defmodule Slither.Proof.Disk.Mount do
  @moduledoc false
  # A disk of a few KB, and what fills it.

  @doc "Whether this user may mount one."
  @spec possible?() :: boolean
  def possible? do
    dir =
      Path.join(
        System.tmp_dir!(),
        "slither-disk-#{System.pid()}-#{System.unique_integer([:positive])}"
      )

    disk = begin(dir, 64, true)
    stop(disk)
    true
  rescue
    _error in [MatchError, ErlangError] -> false
  end

  @spec begin(Path.t(), pos_integer, boolean) :: map
  def begin(dir, kb, mount?) do
    File.mkdir_p!(dir)
    if mount?, do: {_, 0} = command("mount", ["-t", "tmpfs", "-o", "size=#{kb}k", "tmpfs", dir])
    %{dir: dir, kb: kb, mount?: mount?}
  end

  @spec stop(map) :: :ok
  def stop(%{dir: dir, mount?: mount?}) do
    if mount?, do: {_, 0} = command("umount", ["-l", dir])
    File.rm_rf!(dir)
    :ok
  end

  @doc "Takes all the room that is left."
  @spec fill(map) :: :ok
  def fill(%{mount?: false}), do: :ok

  def fill(disk) do
    {:ok, file} = :file.open(filler(disk), [:raw, :append])
    full(file)
    :ok = :file.close(file)
  end

  defp full(file) do
    with :ok <- :file.write(file, :binary.copy("f", 1_024)), do: full(file)
  end

  @spec free(map) :: :ok
  def free(disk) do
    _ = File.rm(filler(disk))
    :ok
  end

  @doc "How many KB are left."
  @spec room(map) :: non_neg_integer
  def room(disk) do
    {text, 0} = command("df", ["-k", "--output=avail", disk.dir])
    text |> String.split() |> List.last() |> String.to_integer()
  end

  defp filler(disk), do: Path.join(disk.dir, "filler")
  defp command(name, arguments), do: System.cmd(name, arguments, stderr_to_stdout: true)
end
