defmodule Slither.Dispatch.Strategies.Arrival do
  @moduledoc false
  # The strategy of BEAM stages that have several hands: what arrives together is shared out among
  # them at once, and nothing waits for a batch to fill. Pure; a batcher calls it.

  alias Slither.Dispatch.Strategy

  @most 64

  @spec init(keyword) :: map
  def init(options), do: %{hands: options[:hands]}

  @spec want(map) :: pos_integer
  def want(_state), do: 1

  @spec add([Strategy.entry()], map) :: {[Strategy.group()], map}
  def add(entries, state) do
    size = min(@most, max(1, div(length(entries) + state.hands - 1, state.hands)))
    {for(batch <- Enum.chunk_every(entries, size), do: [batch]), state}
  end

  @spec flush(map) :: []
  def flush(_state), do: []
end
