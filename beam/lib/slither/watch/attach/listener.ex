defmodule Slither.Watch.Attach.Listener do
  @moduledoc false
  # Takes one viewer after the other at the VM's Unix socket, and answers its lines, each with one line
  # of JSON. A process of its own, of which `Slither.Watch.Attach` starts a few.
  #
  #     snapshot              what goes on, as `Slither.Watch.snapshot/0` has it
  #     diagnosis             its verdict and its evidence
  #     screen COLUMNS ROWS   {"lines": […]}, the same for a terminal; with `colours` behind it, in colours
  #     line                  {"line": "…"}, the same in one line
  #     stack POOL WORKER     where a worker's code is
  #     metrics               {"metrics": "…"}, in Prometheus' text
  #
  # What can't be told is {"error": "…"}. After `term ` the answer is a term of Erlang's in Base64, for
  # those who are a VM themselves.

  alias Slither.{Json, Metrics, Watch}
  alias Slither.Watch.{Diagnosis, Screen}

  # ms that a viewer may be silent, and that it may take to read.
  @silent 30_000
  @slow 5_000
  # Bytes of a line.
  @longest 1_024
  # Of a terminal.
  @sides 1..1_000

  @type socket :: :socket.socket()

  @doc "Opens the socket that viewers connect to."
  @spec open(String.t()) :: {:ok, socket} | {:error, term}
  def open(path) do
    with {:ok, socket} <- :socket.open(:local, :stream, :default) do
      with {:error, why} <- listen(socket, path) do
        :socket.close(socket)
        {:error, why}
      end
    end
  end

  defp listen(socket, path) do
    with :ok <- bind(socket, path),
         :ok <- File.chmod(path, 0o600),
         :ok <- :socket.listen(socket, 16),
         do: {:ok, socket}
  end

  # A VM of the same number, which has ended, may have left its file.
  defp bind(socket, path) do
    address = %{family: :local, path: path}

    with {:error, :eaddrinuse} <- :socket.bind(socket, address) do
      if Watch.Attach.Place.listens?(path) do
        {:error, :eaddrinuse}
      else
        File.rm(path)
        :socket.bind(socket, address)
      end
    end
  end

  @doc "Starts a process that takes viewers."
  @spec start_link(socket) :: pid
  def start_link(socket), do: spawn_link(fn -> accept(socket) end)

  defp accept(socket) do
    case :socket.accept(socket) do
      {:ok, viewer} ->
        serve(viewer, "")
        :socket.close(viewer)
        accept(socket)

      {:error, _closed} ->
        # Its owner closes it at its end; else too many files are open, and some may be closed soon.
        receive do
        after
          1_000 -> accept(socket)
        end
    end
  end

  defp serve(viewer, read) do
    case String.split(read, "\n", parts: 2) do
      [line, rest] ->
        answer = line |> String.split() |> written()
        if :socket.send(viewer, [answer, ?\n], @slow) == :ok, do: serve(viewer, rest)

      [_part] when byte_size(read) <= @longest ->
        with {:ok, more} <- :socket.recv(viewer, 0, @silent), do: serve(viewer, read <> more)

      [_long] ->
        :ok
    end
  end

  defp written(["term" | words]),
    do: words |> answer() |> :erlang.term_to_binary() |> Base.encode64()

  defp written(words), do: words |> answer() |> Json.encode()

  defp answer(words) do
    told(words)
  catch
    kind, reason -> %{error: "This could not be told: " <> Exception.format_banner(kind, reason)}
  end

  defp told(["snapshot"]), do: Watch.snapshot()

  defp told(["diagnosis"]), do: Diagnosis.of(Watch.snapshot())
  defp told(["metrics"]), do: %{metrics: IO.iodata_to_binary(Metrics.text())}
  defp told(["line"]), do: %{line: Screen.line(Watch.snapshot())}

  defp told(["screen", columns, rows | colours]) when colours in [[], ["colours"]] do
    with {columns, ""} when columns in @sides <- Integer.parse(columns),
         {rows, ""} when rows in @sides <- Integer.parse(rows) do
      %{lines: Screen.lines(Watch.snapshot(), {columns, rows, colours != []})}
    else
      _none -> %{error: "a screen has #{@sides.first} to #{@sides.last} columns and rows"}
    end
  end

  defp told(["stack", pool, worker]) do
    with {number, ""} <- Integer.parse(worker),
         {:ok, stack} <- Watch.stack(pool, number) do
      stack
    else
      {:error, error} -> %{error: Exception.message(error)}
      _no_number -> %{error: "a worker's number, not #{inspect(worker)}"}
    end
  end

  defp told(words),
    do: %{
      error:
        "snapshot, diagnosis, screen, line, stack or metrics, not #{inspect(Enum.join(words, " "))}"
    }
end
