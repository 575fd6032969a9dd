defmodule Slither.Watch.Terminal do
  @moduledoc false
  # The show of `mix slither.top`, in the process of the task: the whole terminal, drawn anew each
  # second, or a line a second where the output is no terminal. The other VM makes the lines.

  alias Slither.Error
  alias Slither.Watch.Attach.Client

  @second 1_000
  # What ends it: Ctrl-C, which comes as a letter here, Ctrl-D and q.
  @ends ["\x03", "\x04", "q", "Q"]

  @doc """
  The number of a process among a task's arguments, nil where there is none.

      iex> Slither.Watch.Terminal.os_pid(["4711"])
      {:ok, 4711}
  """
  @spec os_pid([String.t()]) :: {:ok, pos_integer | nil} | {:error, Error.t()}
  def os_pid([]), do: {:ok, nil}

  def os_pid([text]) do
    case Integer.parse(text) do
      {os_pid, ""} when os_pid > 0 -> {:ok, os_pid}
      _other -> usage(text)
    end
  end

  def os_pid(texts), do: usage(Enum.join(texts, " "))

  defp usage(text) do
    message = "a program is named by the number of one process, not by #{inspect(text)}"
    {:error, %Error{reason: :invalid_option, message: message}}
  end

  @doc "Shows a VM until somebody ends that, or the VM ends."
  @spec show(Client.t()) :: :ok | {:error, Error.t()}
  def show(vm) do
    case stty(["-g"]) do
      {:ok, before} -> screen(vm, before)
      :error -> lines(vm)
    end
  end

  ## A line a second

  defp lines(vm) do
    with {:ok, %{line: line}, vm} <- Client.ask(vm, "line") do
      IO.puts(line)
      wait(@second)
      lines(vm)
    end
  end

  ## The whole terminal

  defp screen(vm, before) do
    # Letters come as they are typed, Ctrl-C among them: the VM's own menu would cover the screen.
    {:ok, _none} = stty(["-icanon", "-echo", "-isig", "min", "1"])
    IO.write("\e[?1049h\e[?25l")
    task = self()
    reader = spawn_link(fn -> read(task) end)
    draw(vm, reader)
  after
    IO.write("\e[?25h\e[?1049l")
    stty([before])
  end

  defp read(task) do
    case IO.getn("", 1) do
      letter when letter in @ends or not is_binary(letter) -> send(task, {__MODULE__, :over})
      _other -> read(task)
    end
  end

  defp draw(vm, reader) do
    {rows, columns} = size()
    colours = if System.get_env("NO_COLOR") in [nil, ""], do: " colours", else: ""

    with {:ok, %{lines: lines}, vm} <- Client.ask(vm, "screen #{columns} #{rows}#{colours}") do
      # Each line is cleared to its end, and what is below the last: nothing flickers.
      IO.write(["\e[H", Enum.intersperse(lines, "\e[K\r\n"), "\e[K\e[J"])

      if wait(@second) == :over do
        Process.unlink(reader)
        Process.exit(reader, :kill)
        :ok
      else
        draw(vm, reader)
      end
    end
  end

  defp wait(time) do
    receive do
      {__MODULE__, :over} -> :over
    after
      time -> :go_on
    end
  end

  defp size do
    with {:ok, text} <- stty(["size"]),
         [rows, columns] <- text |> String.split() |> Enum.map(&String.to_integer/1),
         true <- rows > 0 and columns > 0 do
      {min(rows, 1_000), min(columns, 1_000)}
    else
      _unknown -> {24, 80}
    end
  end

  # A process that the VM starts has another standard input, and may have no terminal of its own: it is
  # told which to take.
  defp stty(arguments) do
    with {:ok, device} <- terminal() do
      shell = ["-c", "device=$1; shift; exec stty \"$@\" < \"$device\"", "sh", device | arguments]

      case System.cmd("/bin/sh", shell, stderr_to_stdout: true) do
        {text, 0} -> {:ok, String.trim(text)}
        _other -> :error
      end
    end
  end

  # That of the VM's own input and output.
  defp terminal do
    with {:ok, device} <- terminal(0), {:ok, _same} <- terminal(1), do: {:ok, device}
  end

  defp terminal(descriptor) do
    case File.read_link("/dev/fd/#{descriptor}") do
      {:ok, path} ->
        if path =~ ~r{^/dev/(pts/|tty|console)}, do: {:ok, path}, else: :error

      # Not on Linux.
      {:error, _none} ->
        if match?({:ok, %{type: :device}}, File.stat("/dev/fd/#{descriptor}")),
          do: {:ok, "/dev/tty"},
          else: :error
    end
  end
end
