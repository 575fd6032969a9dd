defmodule Slither.Driver.MapOutputs do
  @moduledoc false
  # Cuts what comes out of a map's flow into spans of consecutive results, each of which one frame
  # carries. `Slither.Driver.MapRun` writes the frames. Pure.

  alias Slither.{DispatchError, Error, Item}
  alias Slither.Driver.Faults
  alias Slither.Protocol.{Block, Splitter}
  alias Slither.Python.Fault

  # The most bytes of a frame that holds several blocks.
  @most_together 65_536
  @nothing <<0xC0>>

  defstruct spans: [], out: 0, skipped: 0, failures: [], halt: nil

  @typedoc "Where results begin, how many they are, their bytes, and errors by their places."
  @type span ::
          {first :: non_neg_integer, count :: pos_integer, iodata,
           %{non_neg_integer => map} | nil}

  @typedoc """
  The spans in order, what they hold, the errors of items that failed, and the one that ends the run.
  """
  @type t :: %__MODULE__{
          spans: [span],
          out: non_neg_integer,
          skipped: non_neg_integer,
          failures: [Exception.t()],
          halt: Exception.t() | nil
        }

  @typedoc "Whether results keep the input's order, and whether a failure ends the run."
  @type how :: %{:ordered? => boolean, :halt? => boolean, optional(atom) => term}

  @doc "Reads the chunks that a flow gives."
  @spec read([tuple], how) :: t
  def read(chunks, how), do: read(chunks, how, %__MODULE__{})

  defp read([], _how, result), do: finish(result)

  defp read([{:ok, [{first, %Item{payload: %Block{errors: nil} = block}}]} | rest], how, result) do
    {blocks, count, rest} = together(rest, first + block.count, block, how)
    read(rest, how, span(result, first, block.count + count, [block.data | blocks], nil))
  end

  defp read([{:ok, [{first, %Item{payload: %Block{} = block}}]} | rest], how, result) do
    errors = Map.new(block.errors, fn {index, fault} -> {index, Fault.to_error(fault)} end)
    failed(first, block, errors, rest, how, result)
  end

  defp read([{:ok, [{first, _item} | _] = entries} | rest], how, result) do
    values = for {_seq, item} <- entries, do: item.payload.data
    read(rest, how, span(result, first, length(entries), values, nil))
  end

  defp read([{:ok, []} | rest], how, result), do: read(rest, how, result)

  # A block that failed as a whole.
  defp read([{:mixed, [{first, :skipped, %Item{payload: %Block{}} = item}]} | rest], how, result) do
    %Item{payload: %Block{count: count}, meta: %{error: error}} = item
    block = %Block{count: count, data: :binary.copy(@nothing, count)}
    failed(first, block, Map.new(0..(count - 1), &{&1, error}), rest, how, result)
  end

  # An item that failed keeps its place among the others.
  defp read([{:mixed, outcomes} | rest], how, result) do
    outcomes
    |> Enum.chunk_while([], &consecutive/2, &{:cont, Enum.reverse(&1), []})
    |> Enum.reject(&(&1 == []))
    |> Enum.reduce(result, &mixed/2)
    |> then(&read(rest, how, &1))
  end

  defp read([{:halt, _seq, error} | _rest], _how, result), do: finish(%{result | halt: error})

  # Blocks without errors that come next go into the same frame while all are small. A driver that
  # wants results as they come feeds some items alone, and gets their results alone.
  defp together(chunks, next, block, %{ordered?: true}),
    do: together(chunks, next, byte_size(block.data))

  defp together(chunks, _next, _block, _how), do: {[], 0, chunks}

  defp together([{:ok, [{next, %Item{payload: %Block{errors: nil} = block}}]} | rest], next, size)
       when size + byte_size(block.data) <= @most_together do
    {blocks, count, chunks} = together(rest, next + block.count, size + byte_size(block.data))
    {[block.data | blocks], block.count + count, chunks}
  end

  defp together(chunks, _next, _size), do: {[], 0, chunks}

  defp failed(first, block, errors, rest, %{halt?: false} = how, result) do
    wire = Map.new(errors, fn {index, error} -> {index, Faults.to_wire(error)} end)
    result = %{result | failures: Map.values(errors) ++ result.failures}
    read(rest, how, span(result, first, block.count, block.data, wire))
  end

  # The results before the first failure still go out.
  defp failed(first, block, errors, _rest, _halt, result) do
    good = errors |> Map.keys() |> Enum.min()
    result = if good > 0, do: span(result, first, good, first_of(block, good), nil), else: result
    finish(%{result | halt: at(errors[good], first + good)})
  end

  defp first_of(block, count) do
    {:ok, rest} = Splitter.skip(block.data, count)
    binary_part(block.data, 0, byte_size(block.data) - byte_size(rest))
  end

  # Of a batch that failed as a whole, no item is at fault by itself.
  defp at(%DispatchError{} = error, _position), do: error

  defp at(%Error{} = error, position),
    do: %DispatchError{reason: error.reason, item: position, cause: error}

  defp consecutive({seq, _, _} = outcome, [{last, _, _} | _] = chunk) when seq == last + 1,
    do: {:cont, [outcome | chunk]}

  defp consecutive(outcome, []), do: {:cont, [outcome]}
  defp consecutive(outcome, chunk), do: {:cont, Enum.reverse(chunk), [outcome]}

  defp mixed([{first, _, _} | _] = outcomes, result) do
    values =
      for {_seq, kind, item} <- outcomes,
          do: if(kind == :ok, do: item.payload.data, else: @nothing)

    errors =
      for {{_seq, kind, item}, index} <- Enum.with_index(outcomes),
          kind != :ok,
          into: %{},
          do: {index, Faults.to_wire(item.meta.error)}

    failures = for {_seq, kind, item} <- outcomes, kind != :ok, do: item.meta.error
    result = %{result | failures: failures ++ result.failures}
    span(result, first, length(outcomes), values, if(errors == %{}, do: nil, else: errors))
  end

  defp span(result, first, count, values, errors) do
    failed = if errors, do: map_size(errors), else: 0
    spans = [{first, count, values, errors} | result.spans]
    %{result | spans: spans, out: result.out + count - failed, skipped: result.skipped + failed}
  end

  defp finish(result), do: %{result | spans: Enum.reverse(result.spans)}
end
