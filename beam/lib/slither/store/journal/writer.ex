defmodule Slither.Store.Journal.Writer do
  @moduledoc false
  # The process that does the I/O of a journal's segments, and nothing else, one request after
  # another. The store's owner starts it, asks by `ask/2` and never waits in a call: a disk that does
  # not answer stops this process alone.
  #
  # It answers each request with `{Slither.Store.Journal.Writer, ref, :ok | {:error, reason}}`, and
  # ends with its owner. After a failure it takes no request but `:open`: what a file holds behind a
  # failed write or sync can't be known.

  alias Slither.Store.Journal.Disk

  @type request ::
          {:open, Path.t(), [binary]}
          | {:write, [binary], sync? :: boolean}
          | :close

  @spec start_link() :: pid
  def start_link do
    owner = self()
    spawn_link(fn -> loop(owner, nil) end)
  end

  @spec ask(pid, request) :: reference
  def ask(writer, request) do
    ref = make_ref()
    send(writer, {ref, request})
    ref
  end

  defp loop(owner, disk) do
    receive do
      {ref, request} ->
        {answer, disk} = handle(request, disk)
        send(owner, {__MODULE__, ref, answer})
        if request != :close, do: loop(owner, disk)
    end
  end

  # A new segment. If it can't be begun, the one before stays in use.
  defp handle({:open, path, payloads}, old) do
    case begin(path, payloads) do
      {:ok, disk} ->
        # The new segment begins with all entries that the old one may not have on disk.
        if old, do: Disk.close(old)
        {:ok, disk}

      error ->
        {error, old}
    end
  end

  defp handle(_request, nil), do: {{:error, :closed}, nil}

  defp handle({:write, payloads, sync?}, disk) do
    with {:ok, written} <- append(disk, payloads),
         {:ok, synced} <- if(sync?, do: Disk.sync(written), else: {:ok, written}) do
      {:ok, synced}
    else
      {:error, reason} ->
        _ = Disk.close(disk)
        {{:error, reason}, nil}
    end
  end

  # Writes a last record once all others are on disk, which proves that they got there.
  defp handle(:close, disk) do
    with {:ok, disk} <- Disk.sync(disk),
         {:ok, disk} <- append(disk, [:erlang.term_to_binary(:closed)]),
         {:ok, disk} <- Disk.sync(disk) do
      {Disk.close(disk), nil}
    else
      error ->
        _ = Disk.close(disk)
        {error, nil}
    end
  end

  # A torn record that can't be cut off is the file's last: nobody appends to it again.
  defp append(disk, payloads) do
    with {:error, reason} <- Disk.append(disk, payloads) do
      _ = Disk.trim(disk)
      {:error, reason}
    end
  end

  defp begin(path, payloads) do
    with {:ok, disk} <- Disk.create(path) do
      with {:ok, disk} <- Disk.append(disk, payloads),
           {:ok, disk} <- Disk.sync(disk),
           {:ok, disk} <- Disk.sync_name(disk) do
        {:ok, disk}
      else
        error ->
          Disk.discard(disk)
          error
      end
    end
  end
end
