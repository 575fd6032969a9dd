defmodule Slither.Dashboard.Elsewhere do
  @moduledoc false
  # What a page shows of another program of the same user, by the socket that `mix slither.top` looks
  # in by. `mix slither.dashboard PID` starts such a page. One connection serves all who look, in turn;
  # where it breaks, the next who asks makes another.

  alias Slither.Error
  alias Slither.Watch.Attach.Client

  # ms, beyond what a client waits for.
  @patience 30_000

  @doc "The options of a dashboard that shows the program of a process."
  @spec options(pos_integer) :: {:ok, keyword} | {:error, Error.t()}
  def options(os_pid) do
    with {:ok, vm} <- Client.connect(os_pid) do
      {:ok, holder} = Agent.start_link(fn -> vm end)
      ask = &ask(holder, os_pid, &1)

      {:ok,
       snapshot: fn -> ask.("snapshot") end,
       stack: &stack(ask, &1, &2),
       metrics: fn -> ask.("metrics").metrics end}
    end
  end

  # A name that would be two words of the question is none that it can be asked for.
  defp stack(ask, pool, worker) do
    told =
      if pool =~ ~r/\s/,
        do: %{error: "no pool #{inspect(pool)} can be asked for from outside"},
        else: ask.("stack #{pool} #{worker}")

    case told do
      %{error: message} -> {:error, %Error{reason: :unknown_worker, message: message}}
      stack -> {:ok, stack}
    end
  end

  defp ask(holder, os_pid, question) do
    case Agent.get_and_update(holder, &asked(&1, os_pid, question), @patience) do
      {:ok, answer} -> answer
      {:error, error} -> raise error
    end
  end

  defp asked(nil, os_pid, question) do
    case Client.connect(os_pid) do
      {:ok, vm} -> asked(vm, os_pid, question)
      {:error, error} -> {{:error, error}, nil}
    end
  end

  defp asked(vm, _os_pid, question) do
    case Client.ask(vm, question) do
      {:ok, answer, vm} -> {{:ok, answer}, vm}
      {:error, error} -> {{:error, error}, nil}
    end
  end
end
