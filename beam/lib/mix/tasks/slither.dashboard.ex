defmodule Mix.Tasks.Slither.Dashboard do
  @shortdoc "Runs the project with a page on which one sees what flows, waits and fails"

  @moduledoc """
  Starts the project's applications, as `mix run --no-halt` does, with `Slither.Dashboard` beside
  them, and says where the page is.

      mix slither.dashboard
      iex -S mix slither.dashboard
      mix slither.dashboard --port 4041 --ip 0.0.0.0

  ## Options

    * `--port N`: the port, which must be free; else 4040 or the next that is;
    * `--ip IP`: the address to listen on, in place of loopback; it takes a token then;
    * `--token TOKEN`: that token, in place of one that is made and told.

  What the command does not say is as `config :slither, dashboard: […]` has it. The exit status is 1
  where the page can't be.
  """

  use Mix.Task

  alias Slither.Dashboard

  @options [port: :integer, ip: :string, token: :string]

  @impl true
  @spec run([String.t()]) :: :ok | no_return
  def run(arguments) do
    options = options(arguments)
    Mix.Task.run("app.config")
    options = Keyword.merge(configured(), options)
    # What is wrong with it is said here.
    Application.put_env(:slither, :dashboard, false)
    Mix.Task.run("app.start")

    case Supervisor.start_child(Slither.Supervisor, {Dashboard, [tell: false] ++ options}) do
      {:ok, _pid} -> Mix.shell().info("dashboard: #{Dashboard.url()}")
      {:error, reason} -> refuse(Dashboard.told(reason))
    end

    unless iex?(), do: Process.sleep(:infinity)
    :ok
  end

  defp options(arguments) do
    case OptionParser.parse(arguments, strict: @options) do
      {options, [], []} ->
        options

      {_options, [], [{option, nil} | _]} ->
        refuse("mix slither.dashboard: unknown option or no value: #{option}")

      {_options, [], [{option, value} | _]} ->
        refuse("mix slither.dashboard: #{option} does not take #{value}")

      {_options, [word | _], _invalid} ->
        refuse("mix slither.dashboard takes no #{word}")
    end
  end

  defp configured do
    case Application.get_env(:slither, :dashboard) do
      options when is_list(options) -> options
      port when is_integer(port) -> [port: port]
      _true_or_none -> []
    end
  end

  @spec refuse(String.t()) :: no_return
  defp refuse(message) do
    Mix.shell().error(message)
    exit({:shutdown, 1})
  end

  defp iex?, do: Code.ensure_loaded?(IEx) and IEx.started?()
end
