defmodule Slither.Examples.Watched do
  @moduledoc """
  Examples that go on while somebody watches them on the dashboard.
  """

  alias Slither.Dashboard

  @not_run 3

  @doc "Runs a function, which gives an exit status, again and again until Enter is pressed."
  @spec run(:inet.port_number() | nil, (() -> 0..3)) :: 0..3
  def run(port, round) do
    options = if port, do: [port: port], else: []

    case Supervisor.start_child(Slither.Supervisor, {Dashboard, [tell: false] ++ options}) do
      {:ok, _pid} ->
        status = watched(round)
        :ok = Supervisor.terminate_child(Slither.Supervisor, Dashboard)
        :ok = Supervisor.delete_child(Slither.Supervisor, Dashboard)
        status

      # The configuration has it.
      {:error, {:already_started, _pid}} ->
        watched(round)

      {:error, reason} ->
        IO.puts(:stderr, Dashboard.told(reason))
        @not_run
    end
  end

  defp watched(round) do
    IO.puts("Watch it: #{Dashboard.url()}   (Enter ends it after the round that runs.)")
    until(Task.async(fn -> entered?() end), round)
  end

  # Where nobody can press it, somebody ends the program.
  defp entered? do
    with :eof <- IO.gets(""), do: Process.sleep(:infinity)
  end

  defp until(enter, round) do
    status = round.()

    if status != 0 or Task.yield(enter, 0) do
      Task.shutdown(enter, :brutal_kill)
      status
    else
      until(enter, round)
    end
  end
end
