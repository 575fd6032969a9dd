defmodule Slither.Stage.Type do
  @moduledoc false
  # What the builder of pipes asks of a built-in type of stage, so that it needs no clause for each.

  alias Slither.{Error, Options}

  @doc "The stage's options."
  @callback options() :: Options.table()

  @doc "The options as they were written, checked and with defaults; `where` names the stage."
  @callback check(options :: term, where :: String.t()) :: {:ok, keyword} | {:error, Error.t()}
end
