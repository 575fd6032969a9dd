defmodule Slither.Rate.Spec do
  @moduledoc false
  # Reads a `rate:` option, and the options of a bucket. Plain data; called by `Slither.Rate`, and by
  # whoever checks the options of a run or a call.

  alias Slither.{Error, Guarded, Options}

  # A batch takes no more than what comes in this many ms, unless `burst` says so.
  @second 1_000

  @bucket [
    items: [type: :pos_integer, required: true, doc: "The tokens that come in `per` ms."],
    per: [type: :milliseconds, required: true, doc: "The ms in which `items` tokens come."],
    burst: [
      type: :pos_integer,
      doc:
        "The most tokens that it keeps, while nobody takes any. Batches are cut to no more. Unless " <>
          "set, a tenth of `items`, those of a second at most, and at least 1."
    ]
  ]

  @use [
    weight: [
      type:
        {:custom, "a number of 0 or more, or a function of an item that gives one",
         &__MODULE__.weight?/1},
      default: 1,
      doc: "The tokens that an item takes, or a function of the item that gives them."
    ],
    refusals: [
      type: :non_neg_integer,
      default: 10,
      doc:
        "How often an item may be refused with a time to come again, before that is a failure " <>
          "as any other."
    ]
  ]

  @where "rate:"

  @enforce_keys [:weight, :refusals]
  defstruct [:name, :items, :per, :burst, :weight, :refusals]

  @typedoc """
  What a run or a call says: a bucket of its own, or the `name` of one that several share, of which it
  may have no figures.
  """
  @type t :: %__MODULE__{
          name: String.t() | nil,
          items: pos_integer | nil,
          per: pos_integer | nil,
          burst: pos_integer | nil,
          weight: number | (term -> number),
          refusals: non_neg_integer
        }
  @typedoc "The figures of a bucket."
  @type figures :: %{items: pos_integer, per: pos_integer, burst: pos_integer}

  @doc "The options of a bucket as Markdown, and of the use of one."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@bucket ++ @use)

  @doc "The table of a bucket's options."
  @spec table() :: Options.table()
  def table, do: @bucket

  @doc "The table of all options."
  @spec all() :: Options.table()
  def all, do: @bucket ++ @use

  @doc "Words for errors and docs."
  @spec accepted() :: String.t()
  def accepted,
    do: "[items: n, per: ms], the name of a Slither.Rate, or {name, weight: fun}"

  @doc "Whether a value says how many tokens an item takes."
  @spec weight?(term) :: boolean
  def weight?(value), do: is_function(value, 1) or (is_number(value) and value >= 0)

  @doc "Whether a term is a `rate:` option."
  @spec valid?(term) :: boolean
  def valid?(option), do: match?({:ok, _}, new(option))

  @doc "Whether it is one of a single call, which has no bucket of its own."
  @spec shared?(term) :: boolean
  def shared?(option), do: match?({:ok, %{name: name}} when name != nil, new(option))

  @doc "Reads a `rate:` option."
  @spec new(term) :: {:ok, t | nil} | {:error, Error.t()}
  def new(nil), do: {:ok, nil}

  def new([_ | _] = options) do
    with {:ok, checked} <- Options.validate(options, @bucket ++ @use, @where),
         do: {:ok, struct!(__MODULE__, Map.merge(Map.new(checked), figures(checked)))}
  end

  def new({name, options}) when is_list(options) do
    with {:ok, spec} <- new(name),
         {:ok, checked} <- Options.validate(options, @use, @where),
         do: {:ok, %{spec | weight: checked[:weight], refusals: checked[:refusals]}}
  end

  def new(name) do
    with {:ok, name} <- name(name) do
      {:ok, %__MODULE__{name: name, weight: 1, refusals: @use[:refusals][:default]}}
    end
  end

  @doc "The name of a bucket, as it is known by: an atom and a string of it name the same."
  @spec name(term) :: {:ok, String.t()} | {:error, Error.t()}
  def name(name) when is_atom(name) and name not in [nil, true, false],
    do: {:ok, Atom.to_string(name)}

  def name(name) when is_binary(name) and name != "" do
    if String.valid?(name), do: {:ok, name}, else: refused(name)
  end

  def name(other), do: refused(other)

  defp refused(other) do
    message = "option :rate takes #{accepted()}, got #{inspect(other, limit: 5)}"
    {:error, %Error{reason: :invalid_option, message: message, details: %{option: :rate}}}
  end

  @doc "The figures of a bucket's checked options."
  @spec figures(keyword) :: figures
  def figures(options) do
    {items, per} = {options[:items], options[:per]}
    burst = options[:burst] || max(1, min(div(items, 10), div(items * @second, per)))
    %{items: items, per: per, burst: burst}
  end

  @doc "The tokens that an item takes, or what is wrong with its function."
  @spec weigh(t, term) :: {:ok, number} | {:error, Error.t()}
  def weigh(%__MODULE__{weight: weight}, _item) when is_number(weight), do: {:ok, weight}

  def weigh(%__MODULE__{weight: fun}, item),
    do:
      Guarded.call("the rate's weight function", fn -> fun.(item) end,
        reason: :weight_failed,
        check: &number/1
      )

  defp number(weight) when is_number(weight) and weight >= 0, do: :ok

  defp number(other),
    do: {:error, "gave #{inspect(other, limit: 5)}; it gives a number of 0 or more"}
end
