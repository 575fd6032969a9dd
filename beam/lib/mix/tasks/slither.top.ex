defmodule Mix.Tasks.Slither.Top do
  @shortdoc "Shows what goes on in a running program with Slither"

  @moduledoc """
  Shows, each second, what goes on in a running program with Slither of the same user: a verdict, what
  flows, what waits, what each worker runs, what fails.

      mix slither.top
      mix slither.top 4711

  The program is named by the number of its process, where several run. `q` or Ctrl-C ends the show, and
  the program knows nothing of it. Where there is no terminal, it prints a line a second.

  `slither top` does the same without Mix. The exit status is 3 where there is no such program.
  """

  use Mix.Task

  alias Slither.Watch.{Attach, Terminal}

  @missing 3

  @impl true
  @spec run([String.t()]) :: :ok
  def run(arguments) do
    # Nothing of the project is started: another program is looked at.
    Mix.Task.run("app.config")

    with {:ok, os_pid} <- Terminal.os_pid(arguments),
         {:ok, vm} <- Attach.Client.connect(os_pid),
         :ok <- Terminal.show(vm) do
      :ok
    else
      {:error, error} ->
        Mix.shell().error(Exception.message(error))
        exit({:shutdown, @missing})
    end
  end
end
