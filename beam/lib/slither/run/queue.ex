defmodule Slither.Run.Queue do
  @moduledoc false
  # A stage with a flow: what waits to be batched, what is in the flow, how many entries were
  # ever fed to it and have left it, and `past`, what passes it by. A BEAM stage whose handler
  # runs beside the engine has its `handler` to read the answers.

  alias Slither.Run.Bypass

  @enforce_keys [:name, :batcher, :fresh, :flow]
  defstruct [:name, :batcher, :fresh, :flow, :handler] ++
              [
                targets: %{},
                groups: [],
                past: %Bypass{},
                fed: 0,
                batched: 0,
                left: 0,
                flushed: false,
                halted: false
              ]

  @type t :: %__MODULE__{}
end
