defmodule Slither.Python.Env.Step do
  @moduledoc false
  # A step of building an environment: a command, what it says, and what its failure means. Runs in
  # the process that builds (`Slither.Python.Env`, `Uv`).

  require Logger

  alias Slither.{Error, Lock}
  alias Slither.Python.Env.Spec

  # How many of a command's last lines its error quotes.
  @kept 30
  # The words of commands that could not reach the network, or a host in it.
  @offline ["dns error", "Could not connect", "error sending request", "Connection refused"] ++
             ["Network is unreachable", "Temporary failure in name resolution"] ++
             ["network connectivity", "Failed to establish a new connection", "tcp connect error"]
  # How commands name the package that they could not install.
  @packages [
    ~r/Because ([\w.-]+) was not found/,
    ~r/no versions? of ([\w.-]+)/,
    ~r/(?:download|build|fetch|prepare)[^`\n]*`([\w.-]+)(?:==[^`]*)?`/,
    ~r{/simple/([\w.-]+)/},
    ~r/No matching distribution found for ([\w.-]+)/
  ]

  @doc "Runs a command for an environment; its lines are progress, its failure an error."
  @spec command(Spec.t(), keyword, String.t(), [String.t()]) :: :ok | {:error, Error.t()}
  def command(env, options, executable, arguments) do
    progress = &say(options, &1)

    case run(executable, arguments, Path.dirname(env.file), progress, options[:timeout]) do
      {:ok, _output} -> :ok
      {:error, details} -> {:error, failed(env, details)}
    end
  end

  @doc "Calls `fun` while no other VM, and nobody else in this one, does what `path` stands for."
  @spec locked(Spec.t(), keyword, Path.t(), (() -> result)) :: result | {:error, Error.t()}
        when result: term
  def locked(env, options, path, fun) do
    path = path <> ".lock"

    with :ok <- File.mkdir_p(Path.dirname(path)), {:ok, lock} <- lock(path, options) do
      try do
        fun.()
      after
        Lock.release(lock)
      end
    else
      {:error, :locked} ->
        message = "another process has held #{path} for more than #{options[:timeout]} ms"
        {:error, error(env, message, %{})}

      {:error, reason} ->
        {:error, error(env, "#{Path.dirname(path)}: #{:file.format_error(reason)}", %{})}
    end
  end

  defp lock(path, options) do
    with {:error, :locked} <- Lock.take(path, 0) do
      say(options, "another process holds #{path}; waiting for it")
      Lock.take(path, options[:timeout])
    end
  end

  defp error(env, message, details) do
    %Error{
      reason: :no_environment,
      where: "the Python environment of #{env.file}",
      message: message,
      details: details
    }
  end

  @spec say(keyword, String.t()) :: any
  def say(options, line) do
    case options[:progress] do
      nil -> Logger.info(line)
      progress -> progress.(line)
    end
  end

  defp failed(env, details) do
    packages =
      for regex <- @packages,
          [_, name] <- Regex.scan(regex, details.output),
          uniq: true,
          do: name

    what = if packages == [], do: "", else: "package #{Enum.join(packages, ", ")}: "

    %{
      error(
        env,
        what <> "`#{details.command}` #{details.ended}:\n#{String.trim(details.output)}",
        Map.put(details, :packages, packages)
      )
      | hint: hint(details.output)
    }
  end

  defp hint(output) do
    if String.contains?(output, @offline) do
      "the network or the package index can't be reached: try again when it can, or have the file " <>
        "name a folder of wheels with the lines --no-index and --find-links FOLDER"
    end
  end

  # Runs a command, and hands on its lines as they come.
  defp run(executable, arguments, folder, progress, timeout) do
    port =
      Port.open(
        {:spawn_executable, executable},
        [:binary, :exit_status, :hide, :stderr_to_stdout, line: 4_096, args: arguments] ++
          [cd: folder, env: environment()]
      )

    timer = Process.send_after(self(), {__MODULE__, port}, timeout)
    {ended, status, lines} = collect(port, progress, [])
    Process.cancel_timer(timer)
    output = lines |> Enum.take(@kept) |> Enum.reverse() |> Enum.join("\n")
    if status == 0, do: {:ok, output}, else: failure(executable, arguments, status, ended, output)
  rescue
    error in ErlangError ->
      why = "can't be run: #{inspect(error.original)}"
      failure(executable, arguments, nil, why, "")
  end

  defp failure(executable, arguments, status, ended, output) do
    command = Enum.map_join([Path.basename(executable) | arguments], " ", &quoted/1)
    {:error, %{command: command, status: status, ended: ended, output: output}}
  end

  # Has uv use the interpreters that are installed, trust the certificates that this machine
  # trusts, and show no progress bars.
  defp environment do
    [{~c"UV_PYTHON_DOWNLOADS", ~c"never"}, {~c"UV_NO_PROGRESS", ~c"1"}, {~c"NO_COLOR", ~c"1"}] ++
      [
        {~c"UV_SYSTEM_CERTS", String.to_charlist(System.get_env("UV_SYSTEM_CERTS", "1"))},
        {~c"VIRTUAL_ENV", false},
        {~c"PIP_DISABLE_PIP_VERSION_CHECK", ~c"1"},
        {~c"PIP_NO_INPUT", ~c"1"}
      ]
  end

  defp collect(port, progress, lines) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        line = printable(line)
        progress.(line)
        collect(port, progress, [line | lines])

      {^port, {:data, {:noeol, line}}} ->
        collect(port, progress, [printable(line) | lines])

      {^port, {:exit_status, status}} ->
        {"ended with status #{status}", status, lines}

      {__MODULE__, ^port} ->
        kill(port)
        {"took too long", nil, lines}
    end
  end

  defp printable(line), do: if(String.valid?(line), do: line, else: inspect(line))

  defp kill(port) do
    with {:os_pid, os_pid} <- Port.info(port, :os_pid),
         do: System.cmd("kill", ["-KILL", "#{os_pid}"], stderr_to_stdout: true)

    Port.close(port)
  end

  defp quoted(argument),
    do: if(argument =~ ~r/[^\w.\/=:,+-]/, do: "'#{argument}'", else: argument)
end
