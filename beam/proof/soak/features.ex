defmodule Slither.Proof.Soak.Features do
  @moduledoc false
  # State that the long run reads and writes, from both sides.

  @behaviour Slither.Store

  alias Slither.Store.Server

  @keys 1_000

  @impl true
  def tables do
    [
      %{name: :soak_features, python: :read},
      %{name: :soak_visits, python: :read_write, ttl: 5_000}
    ]
  end

  @impl true
  def views do
    [
      %{
        name: :soak_price,
        scope: :global,
        handler: fn %{"key" => key}, _context ->
          Server.get(__MODULE__, :soak_features, key)["price"]
        end
      }
    ]
  end

  @impl true
  def load(tables) do
    :ets.insert(tables[:soak_features], for(n <- 1..@keys, do: row(n)))
    :ok
  end

  @doc "A key of the table."
  @spec key(non_neg_integer) :: String.t()
  def key(n), do: "key #{rem(n, @keys) + 1}"

  @doc "Changes a record, and now and then all of them."
  @spec write(non_neg_integer) :: :ok
  def write(n) when rem(n, 10_000) == 0, do: Server.reload(__MODULE__)

  def write(n) do
    {key, value} = row(rem(n, @keys) + 1)
    :ok = Server.put(__MODULE__, :soak_features, key, value)
  end

  defp row(n), do: {"key #{n}", %{"weight" => n / 7, "price" => rem(n, 13) + 1}}
end
