defmodule Slither.Dispatch.Settings do
  @moduledoc false
  # The options of a dispatch, which are those of a pipe's Python stage too. Pure; called in the
  # caller's process by `Slither.Dispatch.Run`, and for a pipe by `Slither.Stage.Python` and
  # `Slither.Pipe.Nodes`.

  alias Slither.{Error, Options, Rate}
  alias Slither.Dispatch.{Executors, Strategies}
  alias Slither.Run.{Batcher, Policy}
  alias Slither.Python.Capture

  @table [
    executor: [type: :atom, default: Executors.SnakeBridge, doc: "What runs a batch."],
    module: [type: :name, doc: "The Python module (SnakeBridge executor)."],
    function: [type: :name, doc: "The function in it (SnakeBridge executor)."],
    each: [
      type: {:or, [:boolean, {:in, [:auto]}]},
      default: false,
      doc:
        "Whether the function takes one item, and its exception fails that item alone. Without " <>
          "it, the function takes the list of a batch's items, unless `item_handler` marks it. " <>
          "`:auto`: its marks and annotations say which, as in Python's `Pipe.python` and `map`."
    ],
    as: [
      type: {:in, [:pandas, :polars, :arrow]},
      doc:
        "The function takes a batch as one frame of that package, whose rows are the items, which " <>
          "are maps. It gives a frame, a column or a list with a result for each row."
    ],
    command: [type: :name, doc: "The registered handler (Snakepit executor)."],
    pool: [type: :atom, default: :default, doc: "The pool whose workers run it."],
    batch_size: [
      type: {:or, [:pos_integer, {:in, [:auto]}]},
      default: 64,
      doc:
        "Items in one batch; `:auto` begins with 1, and finds how many take a worker " <>
          "`batch_time`. No worker gets more than its share of what is at hand."
    ],
    batch_time: [type: :pos_integer, default: 50, doc: "`:auto`: ms a batch should take."],
    min_batch_size: [type: :pos_integer, default: 1, doc: "`:auto`: the smallest batch."],
    max_batch_size: [type: :pos_integer, default: 1_000, doc: "`:auto`: the largest batch."],
    max_in_flight: [type: :pos_integer, default: 8, doc: "Batches that may be out at once."],
    max_in_flight_bytes: [
      type: :pos_integer,
      doc:
        "Bytes that may be out at once, and held for their turn, as encoded, with the results " <>
          "that are to come, as large as those before; one batch may go beyond it, so that a " <>
          "large item can go at all."
    ],
    ordering: [
      type: {:in, [:preserve, :as_completed]},
      default: :preserve,
      doc: "The input's order, or as batches complete."
    ],
    on_error: [
      type: {:custom, Policy.accepted(), &Policy.valid?/1},
      default: :halt,
      doc: "What becomes of items that failed."
    ],
    isolate: [
      type: :boolean,
      default: false,
      doc: "Whether a failing batch is split until the items at fault are alone."
    ],
    timeout: [
      type: :timeout,
      doc:
        "ms a batch may run on its worker, waits for its reader not counted; then the worker is " <>
          "killed. Unless set, 30,000 for each of its items."
    ],
    item_timeout: [
      type: :timeout,
      default: :infinity,
      doc:
        "ms one item may run, whatever batch it is in, by a function of one item; then it fails " <>
          "alone. A function of a list has that time for each of its items, together."
    ],
    queue_timeout: [
      type: :timeout,
      default: :infinity,
      doc: "ms a batch may wait for a worker."
    ],
    rate: [
      type: {:custom, Rate.Spec.accepted(), &Rate.Spec.valid?/1},
      doc:
        "How many items may go out in a time: `[items: 100, per: 60_000]`, or the name of a " <>
          "`Slither.Rate` that several share."
    ],
    priority: [
      type: {:in, [:normal, :urgent]},
      default: :normal,
      doc: "`:urgent` batches get a worker before others that wait for one."
    ],
    strategy: [type: :atom, default: Strategies.FixedBatch, doc: "How items become batches."],
    max_weight: [type: :pos_integer, doc: "WeightedBatch: the most a batch may weigh."],
    weight_fn: [type: {:fun, 1}, doc: "WeightedBatch: an item's weight."],
    key_fn: [type: {:fun, 1}, doc: "KeyPartition: an item's key."],
    window: [type: :pos_integer, doc: "KeyPartition: the items looked at together."],
    cardinality: [
      type: {:in, [:one, :many]},
      default: :one,
      doc:
        "`:many` for a function that gives a list, or an iterator, for each item: each value " <>
          "becomes an item, and an item without any is dropped."
    ],
    receipt: [
      type: :boolean,
      default: false,
      doc: "Whether `run/2` adds a `Slither.Receipt` to its answer."
    ],
    raw: [
      type: :boolean,
      default: false,
      doc:
        "Whether results stay encoded, as `Slither.Protocol.Encoded`: for those that only hand " <>
          "them on, to another worker or into a file."
    ],
    session_id: [type: :string, doc: "Pins the run's calls to one worker, in order."],
    on_session_lost: [
      type: {:in, [:error, :rebind]},
      default: :error,
      doc:
        "When the worker that held the session is gone: batches fail with `:session_lost`, or " <>
          "the session begins anew on another."
    ],
    capture_failures: [
      type: {:custom, Capture.accepted(), &Capture.valid?/1},
      doc:
        "The folder where batches that fail in Python are written, each to a file that " <>
          "`python -m slither.replay` runs again; or `[dir: …, max_files: 100, max_bytes: " <>
          "268_435_456]`: beyond these, the oldest go. Files hold the items: only the owner may " <>
          "read them." <>
          " The pool's own option is for all that run on it."
    ],
    metadata: [type: :map, default: %{}, doc: "Facts for the `Slither.Context` of views."],
    executor_options: [
      type: :keyword,
      default: [],
      doc:
        "For executors of your own. These get options that are none of the above as well, here " <>
          "and among the others."
    ]
  ]

  @from_config [
    batch_size: :default_batch_size,
    max_in_flight: :default_max_in_flight,
    ordering: :default_ordering,
    on_error: :default_on_error
  ]
  @config for {name, key} <- @from_config, do: {key, @table[name]}
  @read Options.read(@table)

  @ours [Strategies.FixedBatch, Strategies.KeyPartition, Strategies.WeightedBatch]

  # The names that `own?/1` compares with.
  @names for {name, _spec} <- @table, do: Atom.to_string(name)
  @nearly 0.9

  @doc "The options as Markdown."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@table)

  @doc "The table of options."
  @spec table() :: Options.table()
  def table, do: @table

  @doc "Checks options, with the configured defaults under them."
  @spec check(keyword, String.t()) :: {:ok, keyword} | {:error, Error.t()}
  def check(options, where) do
    {own, options} = own(options)

    with {:ok, checked} <- Options.validate(with_configured(options), @read, where),
         :ok <- results(checked, where),
         :ok <- strategy(checked, where) do
      {:ok, if(own == [], do: checked, else: with_own(checked, own))}
    end
  end

  # Options that are not ours belong to the user's own executor. A name that is nearly one of ours
  # counts as a slip, which the check then reports.
  defp own(options) do
    if Keyword.keyword?(options) and
         options[:executor] not in [nil, Executors.SnakeBridge, Executors.Snakepit],
       do: Enum.split_with(options, fn {name, _value} -> own?(name) end),
       else: {[], options}
  end

  defp own?(name) do
    text = Atom.to_string(name)
    Enum.all?(@names, &(String.jaro_distance(text, &1) < @nearly))
  end

  defp with_own(checked, own) do
    executor_options = Keyword.merge(own, checked[:executor_options])
    own ++ Keyword.put(checked, :executor_options, executor_options)
  end

  @doc "The batcher of checked options."
  @spec batcher(keyword) :: Batcher.t()
  def batcher(options) do
    strategy = options[:strategy]

    if strategy in @ours,
      do: Batcher.ours(strategy, options),
      else: Batcher.theirs(strategy, options)
  end

  defp with_configured(options) do
    dispatch = Application.get_env(:slither, :dispatch, [])

    if dispatch == [] or not Keyword.keyword?(options),
      do: options,
      else: Keyword.merge(configured(dispatch), options)
  end

  defp configured(dispatch) do
    _ = Options.validate!(dispatch, @config, "config :slither, dispatch:")
    for {name, key} <- @from_config, Keyword.has_key?(dispatch, key), do: {name, dispatch[key]}
  end

  defp results(options, where) do
    many? = options[:cardinality] == :many

    cond do
      many? and options[:raw] ->
        error(:invalid_option, where, "raw: true goes with cardinality: :one alone")

      many? and options[:as] != nil ->
        error(
          :invalid_option,
          where,
          "as: goes with cardinality: :one alone: a row has one result"
        )

      options[:each] == true and options[:as] != nil ->
        message = "as: gives the function one frame of a batch, and each: true one item"
        error(:invalid_option, where, message)

      many? and options[:item_timeout] not in [nil, :infinity] ->
        message =
          "item_timeout: goes with cardinality: :one alone; timeout: is the time to the next values"

        error(:invalid_option, where, message)

      true ->
        :ok
    end
  end

  defp strategy(options, where) do
    strategy = options[:strategy]

    needed =
      case strategy do
        Strategies.WeightedBatch -> [:max_weight, :weight_fn]
        Strategies.KeyPartition -> [:key_fn]
        _ -> []
      end

    missing = Enum.find(needed, &(options[&1] == nil))

    cond do
      missing ->
        error(:missing_option, where, "#{inspect(strategy)} needs option #{inspect(missing)}")

      not Code.ensure_loaded?(strategy) or not function_exported?(strategy, :batch, 2) ->
        message = "option :strategy takes a module with batch/2, got #{inspect(strategy)}"
        error(:invalid_option, where, message)

      options[:batch_size] == :auto and strategy not in @ours and deaf?(strategy) ->
        message =
          "batch_size: :auto needs #{inspect(strategy)}.resize/2, which is told the size; " <>
            "define it, or give batch_size a number"

        error(:invalid_option, where, message)

      true ->
        :ok
    end
  end

  # One that has `batch/2` alone finds the size in its options.
  defp deaf?(strategy),
    do: function_exported?(strategy, :add, 2) and not function_exported?(strategy, :resize, 2)

  defp error(reason, where, message),
    do: {:error, %Error{reason: reason, message: message, where: where}}
end
