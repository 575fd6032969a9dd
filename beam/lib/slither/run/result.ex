defmodule Slither.Run.Result do
  @moduledoc false
  # What a node has made of its entries: those that go on, and how many ended there. Pure; built
  # by the nodes of a run and by `Answer`, and read by `Node` and `Engine`.
  #
  # An entry that skips to a later stage is `{seq, {:to, index, item}}`, and one that leaves the
  # pipe is `{seq, {:exit, output, item}}`.

  alias Slither.Item
  alias Slither.Run.{Fill, Policy}

  @typedoc """
  `of` has the entries that were decided, and `took` says how many of the node's those were (`:all`
  once it holds none). `on` has the entries that go on, in order; a policy has sent `routed` of them
  away and `rerouted` others to a later stage, and a handler `out`. With `fill`, their values are
  not in the items yet. `gone` says why those that were `skipped` were, and `merged` has the seqs of
  the entries that became one, by its seq, the last of all first.
  """
  @type t :: %__MODULE__{
          of: [entry],
          took: non_neg_integer | :all,
          on: [entry],
          fill: {values :: list, attempt :: pos_integer} | nil,
          parts?: boolean,
          gone: [{seq, reason :: term}],
          merged: [{seq, [seq, ...]}],
          out: non_neg_integer,
          skipped: non_neg_integer,
          expanded: integer,
          routed: non_neg_integer,
          rerouted: non_neg_integer,
          errors: [Exception.t()],
          halt: {seq, Exception.t()} | nil
        }
  @type seq :: [non_neg_integer, ...]
  @type entry ::
          {seq, Item.t() | {:to, non_neg_integer, Item.t()} | {:exit, Policy.output(), Item.t()}}
  @typedoc "Where a route leads: to an output, or on to a later stage."
  @type target :: {:output, Policy.output()} | {:stage, non_neg_integer}

  defstruct of: [],
            took: 0,
            on: [],
            fill: nil,
            parts?: false,
            gone: [],
            merged: [],
            out: 0,
            skipped: 0,
            expanded: 0,
            routed: 0,
            rerouted: 0,
            errors: [],
            halt: nil

  @doc "An empty result of entries; what goes on is added to it, and `in_order/1` ends it."
  @spec new([tuple]) :: t
  def new(entries), do: %__MODULE__{of: entries, took: length(entries)}

  @doc "All entries go on as they are."
  @spec all([entry]) :: t
  def all(entries), do: %{new(entries) | on: sorted(entries)}

  @doc "An entry goes on."
  @spec on(t, seq, Item.t()) :: t
  def on(result, seq, item), do: %{result | on: [{seq, item} | result.on]}

  @doc "An entry has made one of many, which goes on; there may be more."
  @spec made(t, seq, Item.t()) :: t
  def made(result, seq, item), do: on(%{result | expanded: result.expanded + 1}, seq, item)

  @doc "An entry has made all of its many, and is none itself."
  @spec ended(t) :: t
  def ended(result), do: %{result | expanded: result.expanded - 1}

  @doc "An entry ends here, for a reason."
  @spec skip(t, seq, reason :: term) :: t
  def skip(result, seq, reason),
    do: %{result | skipped: result.skipped + 1, gone: [{seq, reason} | result.gone]}

  @doc "A handler sends an entry where its route leads."
  @spec leave(t, seq, Item.t(), target) :: t
  def leave(result, seq, item, {:output, output}),
    do: exit_at(%{result | out: result.out + 1}, seq, output, item)

  def leave(result, seq, item, {:stage, index}), do: jump(result, seq, index, item)

  @doc "What became of a failed entry under its policy; the item has the error in its meta."
  @spec failed(t, seq, :skipped | {:routed, Policy.output()}, Item.t(), map) :: t
  def failed(result, seq, outcome, item, targets) do
    result = %{result | errors: [item.meta.error | result.errors]}

    case outcome do
      :skipped ->
        skip(result, seq, item.meta.error)

      {:routed, output} ->
        case Map.fetch!(targets, output) do
          {:output, name} ->
            exit_at(%{result | routed: result.routed + 1}, seq, name, item)

          {:stage, index} ->
            result = %{result | rerouted: result.rerouted + 1}
            jump(result, seq, index, %{item | route: nil})
        end
    end
  end

  defp exit_at(result, seq, output, item) do
    on = [{seq, {:exit, output, %{item | route: output}}} | result.on]
    %{result | on: on, parts?: true}
  end

  defp jump(result, seq, index, item),
    do: %{result | on: [{seq, {:to, index, item}} | result.on], parts?: true}

  @doc "The result of entries that were added one after the other."
  @spec in_order(t) :: t
  def in_order(result), do: %{result | on: Enum.reverse(result.on)}

  @doc "A result whose values are in its items."
  @spec filled(t) :: t
  def filled(%__MODULE__{fill: {values, attempt}} = result),
    do: %{result | on: sorted(Fill.entries(result.on, values, attempt)), fill: nil}

  # A strategy may have put the items of a batch in another order.
  defp sorted(entries),
    do: if(in_order?(entries), do: entries, else: Enum.sort_by(entries, &elem(&1, 0)))

  @doc "Whether entries are in the order of their seqs."
  @spec in_order?([tuple]) :: boolean
  # Seqs of inputs, which most are, compare by their number.
  def in_order?([one | [other | _] = rest]) do
    case {elem(one, 0), elem(other, 0)} do
      {[a], [b]} -> a <= b and in_order?(rest)
      {a, b} -> a <= b and in_order?(rest)
    end
  end

  def in_order?(_one), do: true
end
