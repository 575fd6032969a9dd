defmodule Slither.Python.Lane.Entries do
  @moduledoc false
  # The results of one call whose items have many values each, as they come: entries, in parts and
  # then with the answer. Pure, for `Slither.Python.Lane.Exchange`, which holds one of these or a
  # `Slither.Python.Lane.Results` for each call. What is left of the items comes with later calls,
  # so nothing here counts them, and no credit bounds a call: a chunk does, in the worker.

  alias Slither.Error
  alias Slither.Protocol.Block
  alias Slither.Python.Fault

  defstruct unsent: %{}, got: 0, next: nil

  @typedoc """
  `got` counts the entries that have come in parts, and `next` is the item that the next of them is
  of, once one has come. `unsent` has the errors of items that could not be sent, by their index in
  the payloads, until the first entries are handed on.
  """
  @type t :: %__MODULE__{
          unsent: errors,
          got: non_neg_integer,
          next: non_neg_integer | nil
        }
  @type errors :: %{optional(non_neg_integer) => Error.t()}

  @typedoc """
  More of an item: its place among the items that were sent, whether that is all of it, the values,
  and the error that has ended it.
  """
  @type entry :: {index :: non_neg_integer, ended? :: boolean, values :: [term], Error.t() | nil}

  @doc "No entries of a call, of which some items could not be sent."
  @spec new(errors) :: t
  def new(unsent), do: %__MODULE__{unsent: unsent}

  @doc "The entries of a part, and the errors of items that were not sent."
  @spec part(t, non_neg_integer, list | Block.t(), map | nil) ::
          {:ok, [entry], errors, t} | {:error, String.t()}
  def part(entries, index, values, _faults) when index != entries.got or values == [],
    do: {:error, "a part from #{index} on, after #{entries.got} entries"}

  def part(entries, _index, values, faults) do
    with {:ok, read, next} <- read(entries, values, faults) do
      got = entries.got + length(read)
      {:ok, read, entries.unsent, %{entries | unsent: %{}, got: got, next: next}}
    end
  end

  @doc "The entries of the answer, in the same form."
  @spec rest(t, list | Block.t(), map | nil) :: {:ok, [entry], errors} | {:error, String.t()}
  def rest(%__MODULE__{got: 0}, [], _faults), do: {:error, "many values without an entry"}

  def rest(entries, values, faults) do
    with {:ok, read, _next} <- read(entries, values, faults), do: {:ok, read, entries.unsent}
  end

  defp read(entries, values, faults) when is_list(values) do
    faults = faults || %{}
    read = values |> Enum.with_index() |> Enum.map(fn {v, at} -> entry(v, faults[at]) end)

    cond do
      :error in read -> {:error, "an entry that is none of many values"}
      not Enum.all?(Map.keys(faults), &(&1 < length(read))) -> {:error, "errors beyond entries"}
      true -> in_order(read, entries.next)
    end
  end

  defp read(_entries, _block, _faults), do: {:error, "a block of many values"}

  defp entry([index, ended?, values], fault)
       when is_integer(index) and index >= 0 and is_boolean(ended?) and is_list(values) and
              (ended? or fault == nil),
       do: {index, ended?, values, if(fault, do: Fault.to_error(fault))}

  defp entry(_other, _fault), do: :error

  # The worker draws the values of one item after those of another.
  defp in_order(read, next) do
    Enum.reduce_while(read, {:ok, read, next}, fn
      {index, ended?, _values, _error}, {:ok, _read, next} when next in [nil, index] ->
        {:cont, {:ok, read, if(ended?, do: index + 1, else: index)}}

      {index, _ended?, _values, _error}, {:ok, _read, next} ->
        {:halt, {:error, "values of item #{index}, where those of item #{next} are next"}}
    end)
  end

  @doc "How many results are to come that credit counts: none."
  @spec left(t) :: 0
  def left(_entries), do: 0

  @doc "Credit changes nothing."
  @spec allow(t, non_neg_integer) :: t
  def allow(entries, _count), do: entries

  @doc "As `allow/2`."
  @spec run_on(t) :: t
  def run_on(entries), do: entries

  @doc "The worker never waits for credit."
  @spec stalled?(t) :: false
  def stalled?(_entries), do: false
end
