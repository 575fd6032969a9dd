defmodule Slither.Pipe.Counts do
  @moduledoc false
  # The account of a long-running pipe, in counters. The pipe's server and
  # its sink process add to them, and any process reads them for the pipe's
  # status. They belong to the pipe's supervisor, so that they outlive the
  # processes that count, and tell the next ones how many items were lost.
  #
  # in + expanded = out + skipped + routed + failed + lost + inside.

  alias Slither.Pipe.Definition

  @names ~w(in expanded out skipped routed failed lost sink_errors starts capacity free
            delivering blocked)a
  @ends [:out, :skipped, :routed, :failed, :lost]
  @slots @names |> Enum.with_index(1) |> Map.new()
  @fixed length(@names)

  @enforce_keys [:ref, :outputs]
  defstruct [:ref, :outputs, :pipe]

  @type t :: %__MODULE__{
          ref: :counters.counters_ref(),
          outputs: %{Definition.name() => pos_integer},
          pipe: Definition.name()
        }

  @doc "An account of a pipe with nothing in it."
  @spec new(Definition.t()) :: t
  def new(%Definition{name: pipe, outputs: outputs}) do
    slots = outputs |> Enum.with_index(@fixed + 1) |> Map.new()
    ref = :counters.new(@fixed + map_size(slots), [])
    %__MODULE__{ref: ref, outputs: slots, pipe: pipe}
  end

  @spec add(t, atom, integer) :: :ok
  def add(_counts, _name, 0), do: :ok
  def add(counts, name, count), do: :counters.add(counts.ref, @slots[name], count)

  @spec put(t, atom, integer) :: :ok
  def put(counts, name, value), do: :counters.put(counts.ref, @slots[name], value)

  @spec get(t, atom) :: integer
  def get(counts, name), do: :counters.get(counts.ref, @slots[name])

  @doc "An item has reached its output."
  @spec reached(t, Definition.name(), :out | :routed) :: :ok
  def reached(counts, output, kind) do
    :counters.add(counts.ref, Map.fetch!(counts.outputs, output), 1)
    add(counts, kind, 1)
  end

  @doc "Items that were taken in and have not ended."
  @spec inside(t) :: integer
  def inside(counts) do
    # Read the ends first: an item that ends meanwhile then counts as inside, and the sum can't be
    # negative.
    ended = @ends |> Enum.map(&get(counts, &1)) |> Enum.sum()
    get(counts, :in) + get(counts, :expanded) - ended
  end

  @doc "What a process that ended had inside is lost; returns how many."
  @spec lose(t) :: non_neg_integer
  def lose(counts) do
    lost = max(inside(counts), 0)
    add(counts, :lost, lost)
    lost
  end

  @doc "The account as a map."
  @spec read(t) :: map
  def read(counts) do
    inside = inside(counts)
    names = [:in, :expanded, :sink_errors | @ends]
    names |> Map.new(&{&1, get(counts, &1)}) |> Map.put(:inside, inside)
  end

  @doc "How many items have reached each output."
  @spec outputs(t) :: %{Definition.name() => non_neg_integer}
  def outputs(counts),
    do: Map.new(counts.outputs, fn {name, slot} -> {name, :counters.get(counts.ref, slot)} end)
end
