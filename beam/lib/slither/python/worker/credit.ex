defmodule Slither.Python.Worker.Credit do
  @moduledoc false
  # How much a worker may say: each log frame and report of progress costs it one credit, and its
  # owner gives them back fifty at a time. Pure; `t` is how many the owner owes.

  @most 200
  @step 50

  @type t :: non_neg_integer

  @doc "What a worker starts with."
  @spec most() :: pos_integer
  def most, do: @most

  @doc "Whether so many are to be given back now."
  @spec due?(t) :: boolean
  def due?(owed), do: owed >= @step
end
