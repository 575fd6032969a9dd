defmodule Slither.Python.Lane.Results do
  @moduledoc false
  # The results of one call, as they come: in parts, and then the rest with the answer. Pure, for
  # `Slither.Python.Lane.Exchange`. It knows which items have their results, puts items that were
  # never sent back in their places, and counts how far the worker is ahead of its reader.

  alias Slither.Error
  alias Slither.Protocol.Block
  alias Slither.Python.Fault

  @enforce_keys [:total, :unsent, :credit]
  defstruct [:total, :unsent, :credit, got: 0, at: 0, run_on?: false, blocks: []]

  # `unsent` maps the index of an item that could not be sent to its error. `got` counts results that
  # have come in parts, `at` the items that these decide. `run_on?` says that the handler was told to
  # wait for credit no more. Where the items came as a block, the results are given as one: `blocks`
  # keeps parts until the answer.
  @type t :: %__MODULE__{
          total: pos_integer,
          unsent: errors,
          credit: integer,
          got: non_neg_integer,
          at: non_neg_integer,
          run_on?: boolean,
          blocks: [Block.t()]
        }
  @type errors :: %{optional(non_neg_integer) => Error.t()}
  @type faults :: %{optional(term) => term} | nil

  @doc "None of the results of `total` items; a worker may send `credit` of them in parts."
  @spec new(pos_integer, errors, pos_integer) :: t
  def new(total, unsent, credit), do: %__MODULE__{total: total, unsent: unsent, credit: credit}

  @doc "How many results are still to come."
  @spec left(t) :: non_neg_integer
  def left(results), do: results.total - map_size(results.unsent) - results.got

  @doc """
  A part: its values with those of unsent items in between, and the errors by their index in it.

  The answer always has a result left to decide.
  """
  @spec part(t, non_neg_integer, list | Block.t(), faults) ::
          {:ok, [term], errors, t} | {:kept, pos_integer, t} | {:error, String.t()}
  def part(results, index, values, faults) do
    count = count(values)

    cond do
      index != results.got -> {:error, "a part from #{index} on, after #{results.got} results"}
      count == 0 -> {:error, "a part without results"}
      count >= left(results) -> {:error, "parts that leave nothing to the answer"}
      results.credit < 0 -> {:error, "a part without credit"}
      not within?(faults, index, count) -> {:error, "errors beyond their part"}
      true -> placed(results, values, faults, count)
    end
  end

  defp count(%Block{count: count}), do: count
  defp count(values), do: length(values)

  defp within?(nil, _index, _count), do: true

  defp within?(faults, index, count),
    do: Enum.all?(Map.keys(faults), &(is_integer(&1) and &1 >= index and &1 < index + count))

  defp placed(results, %Block{} = block, _faults, count) do
    credit = results.credit - count
    blocks = [block | results.blocks]
    {:kept, count, %{results | got: results.got + count, credit: credit, blocks: blocks}}
  end

  defp placed(results, values, faults, count) do
    {placed, errors, at} = place(values, errors(faults), results)
    credit = results.credit - count
    {:ok, placed, errors, %{results | got: results.got + count, at: at, credit: credit}}
  end

  @doc "The rest, that came with the answer, in the same form."
  @spec rest(t, list | Block.t(), faults) :: {:ok, [term], errors} | {:error, String.t()}
  def rest(%__MODULE__{unsent: unsent, got: 0} = results, values, faults)
      when unsent == %{} and is_list(values) do
    if length(values) == results.total,
      do: {:ok, values, errors(faults)},
      else: short(values, results)
  end

  def rest(results, %Block{} = block, _faults) do
    if block.count == left(results),
      do: {:ok, [join([block | results.blocks])], %{}},
      else: short(block, results)
  end

  def rest(results, values, faults) do
    if length(values) == left(results) do
      {placed, errors, at} = place(values, errors(faults), results)
      # Items behind the last one that was sent get no value, only their own errors.
      last =
        for index <- at..(results.total - 1)//1, do: {index - results.at, results.unsent[index]}

      {:ok, placed ++ Enum.map(last, fn _ -> nil end), Map.merge(errors, Map.new(last))}
    else
      short(values, results)
    end
  end

  defp short(values, results),
    do: {:error, "#{count(values)} results for #{left(results)} items"}

  defp join([block]), do: block

  # Python numbers the errors in a block by item of the whole call, so they need no shift.
  defp join(blocks) do
    blocks = Enum.reverse(blocks)
    errors = for %Block{errors: %{} = errors} <- blocks, {at, e} <- errors, into: %{}, do: {at, e}

    %Block{
      count: Enum.sum(Enum.map(blocks, & &1.count)),
      data: IO.iodata_to_binary(Enum.map(blocks, & &1.data)),
      errors: if(errors != %{}, do: errors)
    }
  end

  @doc "The place of an item, by its number among those that were sent, in what is not decided yet."
  @spec place(t, non_neg_integer) :: integer
  def place(%__MODULE__{unsent: unsent} = results, sent) do
    all = Stream.reject(0..(results.total - 1), &is_map_key(unsent, &1))
    Enum.at(all, sent, results.total) - results.at
  end

  @doc "Credit for so many more results."
  @spec allow(t, non_neg_integer) :: t
  def allow(results, count), do: %{results | credit: results.credit + count}

  @doc "Credit for all that is left."
  @spec run_on(t) :: t
  def run_on(results), do: %{allow(results, left(results)) | run_on?: true}

  @doc "Whether the worker has to wait for credit."
  @spec stalled?(t) :: boolean
  def stalled?(results), do: results.credit <= 0

  defp errors(faults), do: Map.new(faults || %{}, fn {i, e} -> {i, Fault.to_error(e)} end)

  defp place(values, found, results),
    do: place(values, found, results.unsent, {results.at, results.at, results.got}, [], %{})

  # Python numbers errors by `sent`, which counts only the items that it was sent. The errors of a
  # part are numbered by `at - from`, which counts all items.
  defp place([], _found, _unsent, {_from, at, _sent}, placed, errors),
    do: {Enum.reverse(placed), errors, at}

  defp place(values, found, unsent, {from, at, sent}, placed, errors)
       when is_map_key(unsent, at) do
    errors = Map.put(errors, at - from, unsent[at])
    place(values, found, unsent, {from, at + 1, sent}, [nil | placed], errors)
  end

  defp place([value | values], found, unsent, {from, at, sent}, placed, errors) do
    errors = if e = found[sent], do: Map.put(errors, at - from, e), else: errors
    place(values, found, unsent, {from, at + 1, sent + 1}, [value | placed], errors)
  end
end
