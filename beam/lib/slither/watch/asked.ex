defmodule Slither.Watch.Asked do
  @moduledoc false
  # Asks several at once, each in a process of its own, and waits for none of them for long: who is
  # stuck is left out. Called by whoever makes a part of a snapshot.

  @doc "The answers by their names, of those that have come within so many ms."
  @spec all([{name, (() -> answer)}], timeout) :: %{optional(name) => answer}
        when name: term, answer: term
  def all(questions, timeout) do
    asked =
      for {name, question} <- questions do
        {pid, monitor} = spawn_monitor(__MODULE__, :answer, [question])
        {name, pid, monitor}
      end

    until = System.monotonic_time(:millisecond) + timeout

    for {name, pid, monitor} <- asked,
        {:ok, answer} <- [await(pid, monitor, until)],
        into: %{},
        do: {name, answer}
  end

  @doc false
  # Hands over the answer as why the process ends, so that none comes late.
  @spec answer((() -> term)) :: no_return
  def answer(question), do: exit({__MODULE__, question.()})

  defp await(pid, monitor, until) do
    receive do
      {:DOWN, ^monitor, :process, _pid, {__MODULE__, answer}} -> {:ok, answer}
      {:DOWN, ^monitor, :process, _pid, _crash} -> :none
    after
      max(until - System.monotonic_time(:millisecond), 0) ->
        Process.demonitor(monitor, [:flush])
        Process.exit(pid, :kill)
        :none
    end
  end
end
