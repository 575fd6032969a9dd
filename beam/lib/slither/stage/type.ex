defmodule Slither.Stage.Type do
  @moduledoc false
  # The behaviour of the built-in types of stage: each checks its own options, so that
  # `Slither.Pipe.Builder` needs no clause for each.

  alias Slither.{Error, Options}

  @doc "The stage's options."
  @callback options() :: Options.table()

  @doc "The options as they were written, checked and with defaults; `where` names the stage."
  @callback check(options :: term, where :: String.t()) :: {:ok, keyword} | {:error, Error.t()}
end
