defmodule Slither.Gather.Settings do
  @moduledoc false
  # The options of a gather, and the plan of its calls. Pure, but that a plan looks for its pool;
  # called by `Slither.Gather`, in the process that starts a gather, and by the gather's own.

  alias Slither.{Context, Error, Options}
  alias Slither.Run.Plan

  @where "Slither.Gather.start_link/1"

  # Batches that may be out at once: more than a pool can hold, which sets the limit.
  @most 10_000

  @table [
    name: [type: :any, required: true, doc: "Names the gather, for `call/3`."],
    module: [type: :name, doc: "The Python module."],
    function: [type: :name, doc: "The function in it."],
    command: [type: :name, doc: "A registered handler, in place of `module` and `function`."],
    each: [
      type: :boolean,
      default: false,
      doc: "Whether the function takes one item, rather than the list of a batch's items."
    ],
    as: [
      type: {:in, [:pandas, :polars, :arrow]},
      doc:
        "The function takes a batch as one frame of that package, whose rows are the items, and " <>
          "gives a result for each row, as with `Slither.Dispatch`."
    ],
    pool: [type: :atom, default: :default, doc: "The pool whose workers run it."],
    max_batch: [type: :pos_integer, default: 64, doc: "The most items in one call of Python."],
    max_wait: [
      type: {:or, [{:in, [0]}, :milliseconds]},
      default: 5,
      doc: "ms after which an item no longer waits for others, though workers are busy."
    ],
    key: [
      type: {:fun, 1},
      doc: "A function of an item: only items of equal keys go together. The caller runs it."
    ],
    timeout: [
      type: :timeout,
      doc:
        "ms a batch may run on its worker; then the worker is killed. Unless set, 30,000 for each " <>
          "of its items."
    ],
    priority: [
      type: {:in, [:normal, :urgent]},
      default: :normal,
      doc: "`:urgent` batches get a worker before others that wait for one."
    ],
    max_waiting: [
      type: :pos_integer,
      default: 10_000,
      doc: "Items that may wait; a call beyond them gets `:saturated` at once."
    ]
  ]

  # What a driver says of its own; a target is as in a call frame.
  @driven Keyword.take(@table, [:max_batch, :max_wait, :timeout, :pool, :as]) ++
            [target: [type: {:list, :string}, required: true]]

  @doc "The table of options."
  @spec table() :: Options.table()
  def table, do: @table

  @doc "Checks options."
  @spec check(term) :: {:ok, keyword} | {:error, Error.t()}
  def check(options) do
    with {:ok, options} <- Options.validate(options, @table, @where),
         :ok <- named(options),
         :ok <- target_given(options),
         :ok <- one_or_frame(options),
         do: {:ok, options}
  end

  defp named(options) do
    empty = Enum.find([:module, :function, :command], &(options[&1] in ["", :""]))

    cond do
      options[:name] == nil ->
        error(:invalid_option, "option :name takes anything but nil", %{option: :name})

      empty != nil ->
        message = "option #{inspect(empty)} takes a name, got #{inspect(options[empty])}"
        error(:invalid_option, message, %{option: empty})

      true ->
        :ok
    end
  end

  defp target_given(options) do
    case {options[:module], options[:function], options[:command]} do
      {nil, nil, nil} -> missing(:module, "module: and function:, or command:")
      {nil, nil, _command} -> if options[:each], do: each_of_command(), else: :ok
      {_module, _function, command} when command != nil -> both()
      {nil, _function, nil} -> missing(:module, "module: beside function:")
      {_module, nil, nil} -> missing(:function, "function: beside module:")
      _ -> :ok
    end
  end

  defp missing(option, needs),
    do: error(:missing_option, "needs #{needs}", %{option: option})

  defp both do
    message = "takes module: and function:, or command:, and got both"
    error(:invalid_option, message, %{option: :command})
  end

  defp each_of_command do
    message = "each: goes with module: and function:; a command's own mark says what it takes"
    error(:invalid_option, message, %{option: :each})
  end

  defp one_or_frame(options) do
    if options[:each] and options[:as] != nil do
      message = "as: gives the function one frame of a batch, and each: true one item"
      error(:invalid_option, message, %{option: :as})
    else
      :ok
    end
  end

  defp error(reason, message, details),
    do: {:error, %Error{reason: reason, where: @where, message: message, details: details}}

  @doc "Names what a driver's options are called, and what they take."
  @spec driven() :: Options.table()
  def driven, do: @driven

  @doc "As `check/1`, of a driver's options."
  @spec check_driven(keyword) :: {:ok, keyword} | {:error, Error.t()}
  def check_driven(options), do: Options.validate(options, @driven, "gather")

  @doc "What a worker is to run, as an executor says it."
  @spec target(keyword) :: {:ok, [String.t()]}
  def target(options), do: {:ok, options[:target] || target_of(options)}

  defp target_of(options) do
    cond do
      command = options[:command] -> ["command", to_string(command)]
      options[:each] -> ["item", to_string(options[:module]), to_string(options[:function])]
      true -> ["function", to_string(options[:module]), to_string(options[:function])]
    end
  end

  @doc """
  The plan of a gather's calls, of checked options, for a run of that id. An error says that its pool
  does not run.
  """
  @spec plan(keyword, String.t()) :: {:ok, Plan.t()} | {:error, Error.t()}
  def plan(options, run) do
    options
    |> Keyword.merge(
      executor: __MODULE__,
      on_error: :skip,
      isolate: true,
      ordering: :as_completed,
      max_in_flight: @most,
      queue_timeout: :infinity
    )
    |> Plan.new(%Context{session_id: run, runtime: %{run: run}}, false)
  end
end
