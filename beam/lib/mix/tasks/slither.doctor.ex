defmodule Mix.Tasks.Slither.Doctor do
  @shortdoc "Says what Slither finds here, what is missing, and how to get it"

  @moduledoc """
  Looks at Elixir, OTP, the Python that pools use unless they name another, its packages, uv, and
  the interpreter or environment of each pool in the configuration.

      mix slither.doctor

  A line begins with `ok` or `MISS`. The exit status is 0 when nothing is missing, else 3.
  A release has `Slither.Doctor.run/1` for it; `slither doctor` does the same for Python programs
  that start BEAM themselves.
  """

  use Mix.Task

  @missing 3

  @impl true
  @spec run([String.t()]) :: :ok
  def run([]) do
    # The application is not started: its pools may be what is broken.
    Mix.Task.run("app.config")
    found = Slither.Doctor.run(print: fn line -> Mix.shell().info(line) end)
    if found != :ok, do: exit({:shutdown, @missing})
    :ok
  end

  def run(arguments) do
    Mix.shell().error("mix slither.doctor takes no arguments, got: #{Enum.join(arguments, " ")}")
    exit({:shutdown, 1})
  end
end
