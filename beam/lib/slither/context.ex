defmodule Slither.Context do
  @moduledoc """
  What a handler or a view knows about where it runs.

    * `pipe`, `stage`: their names, `nil` outside a pipe;
    * `session_id`: the session of the run: the one asked for, else one made for the run;
    * `stores`: the stores the pipe declared, by name;
    * `metadata`: what the caller passed as `metadata:`;
    * `runtime`: facts of the moment: `:run`, and in a view `:pool`, `:worker` and `:view`.
  """

  defstruct [:pipe, :stage, :session_id, stores: %{}, metadata: %{}, runtime: %{}]

  @type t :: %__MODULE__{
          pipe: atom | String.t() | nil,
          stage: atom | String.t() | nil,
          session_id: String.t() | nil,
          stores: %{optional(atom | String.t()) => term},
          metadata: map,
          runtime: map
        }
end
