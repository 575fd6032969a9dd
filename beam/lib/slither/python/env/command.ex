defmodule Slither.Python.Env.Command do
  @moduledoc false
  # Runs a command, hands on its lines as they come, and reads from them what went wrong. Runs in the
  # process that builds an environment (`Slither.Python.Env.Step`).

  @kept 30

  @type failure :: %{
          command: String.t(),
          status: non_neg_integer | nil,
          ended: String.t(),
          output: String.t()
        }

  @spec run(String.t(), [String.t()], Path.t(), (String.t() -> any), pos_integer) ::
          {:ok, String.t()} | {:error, failure}
  def run(executable, arguments, folder, progress, timeout) do
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

  # uv is to take the interpreters that are there, trust what this machine trusts, and show no bars.
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

  @offline ["dns error", "Could not connect", "error sending request", "Connection refused"] ++
             [
               "Network is unreachable",
               "Temporary failure in name resolution",
               "network connectivity"
             ] ++
             ["Failed to establish a new connection", "tcp connect error"]

  @spec offline?(String.t()) :: boolean
  def offline?(output), do: String.contains?(output, @offline)

  @packages [
    ~r/Because ([\w.-]+) was not found/,
    ~r/no versions? of ([\w.-]+)/,
    ~r/(?:download|build|fetch|prepare)[^`\n]*`([\w.-]+)(?:==[^`]*)?`/,
    ~r{/simple/([\w.-]+)/},
    ~r/No matching distribution found for ([\w.-]+)/
  ]

  @doc "The packages that a failure names."
  @spec packages(String.t()) :: [String.t()]
  def packages(output) do
    Enum.uniq(for regex <- @packages, [_, name] <- Regex.scan(regex, output), do: name)
  end
end
