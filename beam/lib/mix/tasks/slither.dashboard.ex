defmodule Mix.Tasks.Slither.Dashboard do
  @shortdoc "Runs the project with a page on which one sees what flows, waits and fails"

  @moduledoc """
  Starts the project's applications, as `mix run --no-halt` does, with `Slither.Dashboard` beside
  them, and says where the page is. With the number of a process it starts nothing of the project: the
  page shows that program of the same user, which runs already and needs no page of its own.

      mix slither.dashboard
      iex -S mix slither.dashboard
      mix slither.dashboard --port 4041 --ip 0.0.0.0
      mix slither.dashboard 4711

  ## Options

    * `--port N`: the port, which must be free; else 4040 or the next that is;
    * `--ip IP`: the address to listen on, in place of loopback; it takes a token then;
    * `--token TOKEN`: that token, in place of one that is made and told.

  What the command does not say is as `config :slither, dashboard: […]` has it. The exit status is 1
  where the page can't be, and 3 where there is no such program.
  """

  use Mix.Task

  alias Slither.Dashboard
  alias Slither.Dashboard.Elsewhere

  @refused 1
  @missing 3
  @options [port: :integer, ip: :string, token: :string]

  @impl true
  @spec run([String.t()]) :: :ok | no_return
  def run(arguments) do
    {os_pid, options} = read(arguments)
    Mix.Task.run("app.config")
    options = [tell: false] ++ Keyword.merge(configured(), options)

    case if(os_pid, do: elsewhere(os_pid, options), else: here(options)) do
      {:ok, pid} -> Mix.shell().info("dashboard: #{Dashboard.url(pid)}")
      {:error, reason} -> refuse(Dashboard.told(reason), @refused)
    end

    unless iex?(), do: Process.sleep(:infinity)
    :ok
  end

  defp here(options) do
    # What is wrong with it is said here.
    Application.put_env(:slither, :dashboard, false)
    Mix.Task.run("app.start")
    Supervisor.start_child(Slither.Supervisor, {Dashboard, options})
  end

  defp elsewhere(os_pid, options) do
    case Elsewhere.options(os_pid) do
      {:ok, makers} ->
        # A start that fails is told, and ends this in order.
        Process.flag(:trap_exit, true)
        Dashboard.start_link([name: __MODULE__] ++ makers ++ options)

      {:error, error} ->
        refuse(Exception.message(error), @missing)
    end
  end

  defp read(arguments) do
    case OptionParser.parse(arguments, strict: @options) do
      {options, [], []} ->
        {nil, options}

      {options, [word], []} ->
        {os_pid(word), options}

      {_options, _words, [{option, nil} | _]} ->
        refuse("mix slither.dashboard: unknown option or no value: #{option}", @refused)

      {_options, _words, [{option, value} | _]} ->
        refuse("mix slither.dashboard: #{option} does not take #{value}", @refused)

      {_options, [_os_pid, word | _], []} ->
        refuse("mix slither.dashboard takes no #{word}", @refused)
    end
  end

  defp os_pid(word) do
    case Integer.parse(word) do
      {os_pid, ""} when os_pid > 0 ->
        os_pid

      _other ->
        refuse("mix slither.dashboard takes the number of a process, not #{word}", @refused)
    end
  end

  defp configured do
    case Application.get_env(:slither, :dashboard) do
      options when is_list(options) -> options
      port when is_integer(port) -> [port: port]
      _true_or_none -> []
    end
  end

  @spec refuse(String.t(), 1..3) :: no_return
  defp refuse(message, status) do
    Mix.shell().error(message)
    exit({:shutdown, status})
  end

  defp iex?, do: Code.ensure_loaded?(IEx) and apply(IEx, :started?, [])
end
