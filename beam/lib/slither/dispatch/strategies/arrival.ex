defmodule Slither.Dispatch.Strategies.Arrival do
  @moduledoc false
  # For handlers on BEAM: what arrives together is shared out among the hands at once, and
  # nothing waits for a batch to fill.

  @behaviour Slither.Dispatch.Strategy

  alias Slither.Dispatch.Strategy

  @most 64

  @impl true
  @spec batch(Enumerable.t(), keyword) :: Enumerable.t()
  def batch(items, options), do: Strategy.stream(__MODULE__, items, options)

  @impl true
  @spec init(keyword) :: map
  def init(options), do: %{hands: options[:hands] || 1}

  @impl true
  @spec want(map) :: pos_integer
  def want(_state), do: 1

  @impl true
  @spec add([Strategy.entry()], map) :: {[Strategy.group()], map}
  def add(entries, state) do
    size = min(@most, max(1, div(length(entries) + state.hands - 1, state.hands)))
    {for(batch <- Enum.chunk_every(entries, size), do: [batch]), state}
  end

  @impl true
  @spec flush(map) :: []
  def flush(_state), do: []
end
