defmodule Mix.Tasks.Slither.Diagnose do
  @shortdoc "Says whether something is wrong in a running program with Slither"

  @moduledoc """
  Says in one sentence what goes on in a running program with Slither of the same user, with the
  evidence.

      mix slither.diagnose
      mix slither.diagnose 4711 --json

  The program is named by the number of its process, where several run. With `--json` it prints an
  object, for machines: `state`, `text`, `exit` and `evidence` of the verdict (see `Slither.Watch`), and
  `name`, `os_pid`, `at`, `uptime` and `totals`.

  The exit status is 0 where all is well, 1 where something waits, 2 where something fails, and 3 where
  there is no such program, or the command can't be used so. `slither diagnose` does the same without
  Mix.
  """

  use Mix.Task

  alias Slither.Json
  alias Slither.Watch.{Attach, Terminal}

  @missing 3

  @impl true
  @spec run([String.t()]) :: :ok
  def run(arguments) do
    Mix.Task.run("app.config")
    {json, arguments} = Enum.split_with(arguments, &(&1 == "--json"))

    with {:ok, os_pid} <- Terminal.os_pid(arguments),
         {:ok, vm} <- Attach.Client.connect(os_pid),
         {:ok, told, _vm} <- Attach.Client.ask(vm, "diagnosis") do
      if json == [],
        do: Enum.each(told.told, &Mix.shell().info/1),
        else: Mix.shell().info(IO.iodata_to_binary(Json.encode(told)))

      if told.exit != 0, do: exit({:shutdown, told.exit})
      :ok
    else
      {:error, error} ->
        Mix.shell().error(Exception.message(error))
        exit({:shutdown, @missing})
    end
  end
end
