defmodule Slither.Python.Launcher.Spawn do
  @moduledoc false
  # Starts a new interpreter for each worker, behind a port. Called by `Slither.Python.Worker`,
  # the worker's owner, in its own process.

  @behaviour Slither.Python.Launcher

  alias Slither.Error
  alias Slither.Python.{Env, Environment, Obituary}
  alias Slither.Python.Launcher.Launched
  alias Slither.Python.Transport.Port

  @args ["-m", "slither.worker"]

  @impl true
  def launch(settings, slot) do
    variables = Environment.variables(settings, slot)

    with {:ok, python} <- Env.interpreter(settings.python, settings.env, settings.cd),
         {:ok, port} <- open(python, variables, settings.cd) do
      case Port.os_pid(port) do
        # A process that has ended already has no pid.
        nil ->
          why = Environment.probe(python, variables)
          {:error, Obituary.not_started(settings.name, python, why)}

        os_pid ->
          launched = %Launched{transport: port, os_pid: os_pid, python: python}
          {:ok, %{launched | variables: variables}}
      end
    end
  end

  @impl true
  def explain(launched), do: Environment.probe(launched.python, launched.variables)

  defp open(python, variables, folder) do
    with {:error, why} <- Port.open(python, @args, variables, folder),
         do: {:error, %Error{reason: :no_interpreter, message: "#{python} can't be run: #{why}"}}
  end
end
