defmodule Slither.Pipe.Queue do
  @moduledoc false
  # A stage with a flow: what waits to be batched, what is in the flow, what has passed, and
  # `past`, what goes on behind it in its place in the order without being handled. A BEAM
  # stage whose handler runs beside the engine has its `handler` to read the answers.

  @enforce_keys [:name, :batcher, :fresh, :flow]
  defstruct [:name, :batcher, :fresh, :flow, :handler, :passed] ++
              [targets: %{}, groups: [], past: [], fed: 0, batched: 0, left: 0, flushed: false]

  @type t :: %__MODULE__{}
end
