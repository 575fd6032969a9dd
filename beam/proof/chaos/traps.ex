defmodule Slither.Proof.Chaos.Traps do
  @moduledoc false
  # A table from which the handler takes the trap that is set, so that one call falls into it and
  # the next attempt does not.

  @behaviour Slither.Store

  alias Slither.Store.Server

  @impl true
  def tables, do: [%{name: :chaos_traps, python: :read_write}]

  @impl true
  def load(_tables), do: :ok

  @doc "Sets a trap."
  @spec set(non_neg_integer, String.t()) :: :ok
  def set(number, kind), do: Server.put(__MODULE__, :chaos_traps, "next", [number, kind])

  @doc "Whether a trap is there that nobody has fallen into."
  @spec set?() :: boolean
  def set?, do: Server.get(__MODULE__, :chaos_traps, "next") != nil

  @doc "Takes the trap away; whether somebody has fallen into it."
  @spec taken?() :: boolean
  def taken? do
    taken? = not set?()
    :ok = Server.delete(__MODULE__, :chaos_traps, "next")
    taken?
  end
end
