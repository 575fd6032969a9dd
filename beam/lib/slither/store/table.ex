defmodule Slither.Store.Table do
  @moduledoc false
  # One table of one generation: its checked spec, its ETS ids, and how rows get in and out. Readers
  # use it, and whatever process owns the ETS tables: a builder, then the store's owner.
  #
  # A table with a `ttl` has a second ETS table, `expiry`, of `{key, deadline}`. Rows keep the
  # shape the user gave them, and tables without a ttl pay nothing.

  alias Slither.{Error, Options}
  alias Slither.Store.Specs

  @specs [
    name: [type: :atom, required: true, doc: "How reads and writes call the table."],
    type: [type: {:in, [:set, :bag, :ordered_set]}, default: :set, doc: "As in ETS."],
    keypos: [type: :pos_integer, default: 1, doc: "Which element of a record is its key."],
    read_concurrency: [type: :boolean, default: true, doc: "As in ETS."],
    write_concurrency: [type: :boolean, default: false, doc: "As in ETS."],
    compressed: [type: :boolean, default: false, doc: "As in ETS."],
    durable: [type: :boolean, default: false, doc: "Whether writes survive the VM."],
    ttl: [
      type: {:or, [:pos_integer, {:in, [nil]}]},
      default: nil,
      doc:
        "Milliseconds a record lives after it was written; `nil`: for ever. In a `:bag` all " <>
          "records of a key live as long as the last one written."
    ],
    python: [
      type: {:in, [false, :read, :read_write]},
      default: false,
      doc:
        "Whether Python may use it as a mapping, without a view. Its name is then its store's alone."
    ],
    as: [
      type: {:or, [:string, {:in, [nil]}]},
      default: nil,
      doc: "The name by which Python knows it; `nil`: its own."
    ]
  ]

  @chunk 500

  defstruct [:name, :tid, :expiry, :ttl, :clock, :type, :keypos, :shape, :durable] ++
              [:python, :as, :ets]

  @typedoc """
  `shape` says what a `get` must do: `:value`, look up and take the value; `:record`, more of the
  table's kind; `:checked`, look at the deadline first. `ets` are the options of the ETS table.
  """
  @type t :: %__MODULE__{
          name: atom,
          tid: :ets.tid() | nil,
          expiry: :ets.tid() | nil,
          ttl: pos_integer | nil,
          clock: (() -> integer),
          type: :set | :bag | :ordered_set,
          keypos: pos_integer,
          shape: :value | :record | :checked,
          durable: boolean,
          python: false | :read | :read_write,
          as: String.t(),
          ets: list
        }
  @type effect :: {:insert, [tuple], deadline :: integer | nil} | {:delete, [term]}

  @spec docs() :: String.t()
  def docs, do: Options.docs(@specs)

  @doc "Checks the specs of a store; the tables have no ETS table yet."
  @spec check([map | keyword], module, (() -> integer)) :: {:ok, [t]} | {:error, Error.t()}
  def check([_ | _] = specs, module, clock) do
    Specs.check(specs, @specs, "table", module, fn checked, where ->
      with :ok <- mapping(checked, where), do: {:ok, build(checked, clock)}
    end)
  end

  def check(specs, module, _clock) do
    message = "tables/0 must return a list of at least one table, got #{inspect(specs)}"
    {:error, %Error{reason: :invalid_tables, where: inspect(module), message: message}}
  end

  # Python sees a table as a mapping, with one value for each key, which a bag can't be.
  defp mapping(checked, where) do
    if checked[:python] && (checked[:type] == :bag or checked[:keypos] != 1) do
      message = "python: takes a table of type :set or :ordered_set with keypos: 1"
      {:error, %Error{reason: :invalid_option, where: where, message: message}}
    else
      :ok
    end
  end

  defp build(checked, clock) do
    shape = if checked[:type] != :bag and checked[:keypos] == 1, do: :value, else: :record

    ets =
      [checked[:type], :protected, keypos: checked[:keypos]] ++
        Keyword.take(checked, [:read_concurrency, :write_concurrency]) ++
        if(checked[:compressed], do: [:compressed], else: [])

    %__MODULE__{
      name: checked[:name],
      ttl: checked[:ttl],
      clock: clock,
      type: checked[:type],
      keypos: checked[:keypos],
      shape: if(checked[:ttl], do: :checked, else: shape),
      durable: checked[:durable],
      python: checked[:python],
      as: checked[:as] || Atom.to_string(checked[:name]),
      ets: ets
    }
  end

  @doc "Makes the ETS tables, owned by the caller."
  @spec create(t) :: t
  def create(table) do
    # `expiry` must compare keys as the table does: 1 and 1.0 are one key in an :ordered_set.
    type = if table.type == :ordered_set, do: :ordered_set, else: :set
    expiry = if table.ttl, do: :ets.new(__MODULE__, [type, :protected, read_concurrency: true])
    %{table | tid: :ets.new(table.name, table.ets), expiry: expiry}
  end

  @spec tids(t) :: [:ets.tid()]
  def tids(%{expiry: nil} = table), do: [table.tid]
  def tids(table), do: [table.tid, table.expiry]

  @spec deadline(t) :: integer | nil
  def deadline(%{ttl: nil}), do: nil
  def deadline(table), do: table.clock.() + table.ttl

  @doc "Gives every row that `load/1` inserted its deadline."
  @spec stamp(t) :: :ok
  def stamp(%{ttl: nil}), do: :ok

  def stamp(table) do
    deadline = deadline(table)

    fold_chunks(table, :ok, fn rows, :ok ->
      mark(table, rows, deadline)
      :ok
    end)
  end

  # Readers ask `expiry` first and the record second. So a new deadline must not appear while
  # a record past its time is still there, and a record must not appear before its deadline.
  @spec apply_effect(t, effect) :: :ok
  def apply_effect(table, {:insert, records, deadline}) do
    if deadline do
      for record <- records,
          expired?(table, key(table, record)),
          do: :ets.delete(table.tid, key(table, record))

      mark(table, records, deadline)
    end

    true = :ets.insert(table.tid, records)
    :ok
  end

  def apply_effect(table, {:delete, keys}) do
    Enum.each(keys, fn key ->
      :ets.delete(table.tid, key)
      if table.expiry, do: :ets.delete(table.expiry, key)
    end)
  end

  defp mark(table, records, deadline),
    do: :ets.insert(table.expiry, for(r <- records, do: {key(table, r), deadline}))

  @spec expired?(t, term) :: boolean
  def expired?(%{expiry: nil}, _key), do: false

  def expired?(table, key) do
    case :ets.lookup(table.expiry, key) do
      [{_key, deadline}] -> deadline <= table.clock.()
      [] -> false
    end
  end

  @doc "Keys that are past their deadline and not swept yet."
  @spec expired(t) :: [term]
  def expired(%{expiry: nil}), do: []
  def expired(table), do: :ets.select(table.expiry, past(table))

  @doc "As `expired/1`, but at most a chunk of them: what one sweep takes."
  @spec some_expired(t) :: [term]
  def some_expired(%{expiry: nil}), do: []

  def some_expired(table) do
    case :ets.select(table.expiry, past(table), @chunk) do
      {keys, _more} -> keys
      :"$end_of_table" -> []
    end
  end

  defp past(table), do: [{{:"$1", :"$2"}, [{:"=<", :"$2", table.clock.()}], [:"$1"]}]

  @doc "Those of `rows` that are not past their time."
  @spec live(t, [tuple]) :: [tuple]
  def live(%{expiry: nil}, rows), do: rows
  def live(table, rows), do: Enum.reject(rows, &expired?(table, key(table, &1)))

  @doc "A record's key."
  @spec key(t, tuple) :: term
  def key(%{keypos: keypos}, record), do: elem(record, keypos - 1)

  @doc "Live records under `key`."
  @spec lookup(t, term) :: [tuple]
  def lookup(table, key) do
    if expired?(table, key), do: [], else: :ets.lookup(table.tid, key)
  end

  @doc "What `get` gives for the records under a key."
  @spec entry(t, [tuple]) :: term
  def entry(%{type: :bag} = table, records), do: Enum.map(records, &value(table, &1))
  def entry(_table, []), do: nil
  def entry(table, [record]), do: value(table, record)

  defp value(%{keypos: 1}, {_key, value}), do: value
  defp value(_table, record), do: record

  @doc "Folds lists of rows with `fun.(rows, acc)`. A row is seen once, however long it takes."
  @spec fold_chunks(t, acc, ([tuple], acc -> acc)) :: acc when acc: term
  def fold_chunks(table, acc, fun) do
    :ets.safe_fixtable(table.tid, true)
    fold(:ets.match_object(table.tid, :_, @chunk), acc, fun)
  after
    :ets.safe_fixtable(table.tid, false)
  end

  defp fold(:"$end_of_table", acc, _fun), do: acc
  defp fold({rows, more}, acc, fun), do: fold(:ets.match_object(more), fun.(rows, acc), fun)
end
