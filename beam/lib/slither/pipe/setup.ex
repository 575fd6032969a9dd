defmodule Slither.Pipe.Setup do
  @moduledoc false
  # How a long-running pipe was set up: its checked options, and the values that all its processes
  # share. `Slither.Pipe.Instance` makes it, and gives it to each of them.

  alias Slither.Pipe.{Counts, Definition}

  @enforce_keys [:name, :definition, :counts, :sinks]
  defstruct @enforce_keys ++
              [:max_waiting, :flush_after, :shutdown, :max_restarts, :max_seconds] ++
              [:session_id, :metadata]

  @typedoc "`sinks` are functions by their output's name; the times are in ms, but for `max_seconds`."
  @type t :: %__MODULE__{
          name: term,
          definition: Definition.t(),
          counts: Counts.t(),
          sinks: %{optional(Definition.name()) => (Slither.Item.t() -> any)},
          max_waiting: pos_integer,
          flush_after: timeout,
          shutdown: non_neg_integer,
          max_restarts: non_neg_integer,
          max_seconds: pos_integer,
          session_id: String.t() | nil,
          metadata: map
        }
end
