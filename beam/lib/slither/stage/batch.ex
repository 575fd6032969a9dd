defmodule Slither.Stage.Batch do
  @options [
    size: [type: :pos_integer, default: 100, doc: "Items in one group; the last may be smaller."],
    timeout: [
      type: :timeout,
      default: :infinity,
      doc: "ms after its first item that a group goes on as it is."
    ]
  ]

  @moduledoc """
  A stage that makes one item of many: its payload is the list of theirs.

      stage :pages, :batch, size: 10, timeout: 1_000

  `:window` is another name for it. The item's id is the list of their ids. In the account of a
  run a group of n items counts as `1 - n` expanded.

  ## Options

  #{Slither.Options.docs(@options)}
  """

  @behaviour Slither.Stage.Type

  alias Slither.Options

  @impl true
  @doc false
  @spec options() :: Options.table()
  def options, do: @options

  @impl true
  @doc false
  @spec check(term, String.t()) :: {:ok, keyword} | {:error, Slither.Error.t()}
  def check(options, where), do: Options.validate(options, @options, where)
end
