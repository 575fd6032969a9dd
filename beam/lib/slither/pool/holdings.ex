defmodule Slither.Pool.Holdings do
  @moduledoc false
  # Who holds what of a pool: what the scheduler, and the pure modules beside it, ask of a ledger.
  # Pure; `Slither.Pool.Ledger` changes it.

  alias Slither.Pool.{Lanes, Ledger, Line, Sessions}

  @doc "The workers that have taken all their calls, and are idle, but for those that drain."
  @spec spent(Ledger.t()) :: [Lanes.slot()]
  def spent(%Ledger{max_calls: nil}), do: []
  def spent(ledger), do: Lanes.spent(ledger.workers)

  @doc "Whether a worker has no lane out."
  @spec quiet?(Ledger.t(), Lanes.slot()) :: boolean
  def quiet?(ledger, slot), do: match?(%{leased: 0}, ledger.workers[slot])

  @doc """
  Whether a worker holds what goes with it: sessions that are bound to it, or what it keeps for who
  has parked a lease.
  """
  @spec needed?(Ledger.t(), Lanes.slot()) :: boolean
  def needed?(ledger, slot) do
    case ledger.workers do
      %{^slot => %{pid: pid}} -> Sessions.load(ledger.sessions, pid) > 0 or parked?(ledger, pid)
      _none -> false
    end
  end

  defp parked?(%Ledger{parked: parked}, worker),
    do: Enum.any?(parked, &match?({_ref, {^worker, _owner}}, &1))

  @doc """
  Whether a lane of a worker is out for a run of which the worker has something, such as the rest of
  a call's values: its holder is about to go on with that.
  """
  @spec used?(Ledger.t(), Lanes.slot(), (run :: String.t() -> [worker :: pid])) :: boolean
  def used?(ledger, slot, holders) do
    Enum.any?(ledger.leases, fn {_ref, lease} ->
      lease.slot == slot and lease.run != nil and lease.worker in holders.(lease.run)
    end)
  end

  @doc "Whether a session is bound, or waits to be."
  @spec known?(Ledger.t(), String.t()) :: boolean
  def known?(ledger, session),
    do: Sessions.fetch(ledger.sessions, session) != nil or Line.waits?(ledger.line, session)

  @doc "Whether a session has a call out, or waiting, of one owner."
  @spec uses?(Ledger.t(), pid, String.t()) :: boolean
  def uses?(ledger, owner, session) do
    Enum.any?(ledger.leases, &match?({_, %{owner: ^owner, session: ^session}}, &1)) or
      Enum.any?(Line.all(ledger.line, session), &(&1.owner == owner))
  end

  @doc "The owner of the lease of a lane, if that is for a run; else `nil`."
  @spec owner(Ledger.t(), pid, String.t()) :: pid | nil
  def owner(ledger, lane, run) do
    Enum.find_value(ledger.leases, fn {_ref, lease} ->
      if lease.lane == lane and lease.run == run, do: lease.owner
    end)
  end
end
