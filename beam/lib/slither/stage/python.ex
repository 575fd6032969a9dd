defmodule Slither.Stage.Python do
  @moduledoc """
  A stage that runs batches on Python workers.

      stage :predict, :python, module: "my_model", function: "predict_batch", batch_size: 32

  Its options are those of `Slither.Dispatch`, except `on_error`, `session_id`, `metadata` and
  `receipt`, which belong to the pipe and its run.

  A pipe hands its batches straight to the pool. The functions here are for calling the stage
  without a pipe: they dispatch the items, in the context's session where it has one, and answer
  as `Slither.Stage` says, `{:ok, payload}`, with `cardinality: :many` `{:many, payloads}`, or
  `{:error, error}` for each.

      {:ok, state} = Slither.Stage.Python.init(module: "my_model", function: "predict_batch")
      items = Slither.Item.wrap_many(["first", "second"])
      answers = Slither.Stage.Python.handle_batch(items, Slither.Context.new(), state)
  """

  @behaviour Slither.Stage
  @behaviour Slither.Stage.Type

  alias Slither.Dispatch

  alias Slither.Dispatch.Executors.{SnakeBridge, Snakepit}
  alias Slither.Dispatch.Settings
  alias Slither.{Context, Error, Item, Stage}

  @not_here [:on_error, :session_id, :metadata, :receipt]

  @impl Slither.Stage.Type
  @doc false
  @spec options() :: Slither.Options.table()
  def options, do: Keyword.drop(Settings.table(), @not_here)

  @impl Slither.Stage.Type
  @doc false
  @spec check(term, String.t()) :: {:ok, keyword} | {:error, Error.t()}
  def check(options, where) do
    with :ok <- misplaced(options, where),
         {:ok, options} <- Settings.check(options, where),
         :ok <- target(options),
         do: {:ok, options}
  end

  @impl Slither.Stage
  @spec init(keyword) :: {:ok, %{executor: module, options: keyword}} | {:error, Error.t()}
  def init(options) do
    with {:ok, options} <- check(options, "Slither.Stage.Python.init/1"),
         do: {:ok, %{executor: options[:executor], options: options}}
  end

  @impl Slither.Stage
  @spec handle_item(Item.t(), Context.t(), map) :: Stage.answer()
  def handle_item(item, context, state), do: hd(handle_batch([item], context, state))

  @impl Slither.Stage
  @spec handle_batch([Item.t(), ...], Context.t(), map) :: [Stage.answer()]
  def handle_batch(items, context, %{options: options}) do
    # Failed items stay in their places, with their errors.
    run = [on_error: :skip, ordering: :preserve, metadata: context.metadata]
    session = if context.session_id, do: [session_id: context.session_id], else: []

    given = items |> Enum.map(&unmarked/1) |> placed(options[:cardinality])

    case Dispatch.run(given, Keyword.merge(options, run ++ session)) do
      {:ok, made} -> answers(made, length(items), options[:cardinality])
      {:error, error, _partial} -> List.duplicate({:error, error}, length(items))
    end
  end

  # What one of many items has made is known by its place.
  defp placed(items, :one), do: items
  defp placed(items, :many), do: for({item, at} <- Enum.with_index(items), do: %{item | id: at})

  defp answers(made, _count, :one), do: Enum.map(made, &answer/1)

  defp answers(made, count, :many) do
    of = Enum.group_by(made, fn %Item{id: id} -> if is_tuple(id), do: elem(id, 0), else: id end)

    for place <- 0..(count - 1) do
      answers = Enum.map(Map.get(of, place, []), &answer/1)
      # An item that failed has its error behind what it had made.
      with :none <- Enum.find(answers, :none, &match?({:error, _error}, &1)),
           do: {:many, Enum.map(answers, &elem(&1, 1))}
    end
  end

  @impl Slither.Stage
  @spec shutdown(map) :: :ok
  def shutdown(_state), do: :ok

  # An item may come with the mark of an earlier failure, which says nothing of this stage.
  defp unmarked(%Item{meta: %{skipped: _} = meta} = item),
    do: %{item | meta: Map.drop(meta, [:skipped, :error])}

  defp unmarked(item), do: item

  defp answer(%Item{meta: %{skipped: true, error: error}}), do: {:error, error}
  defp answer(%Item{payload: payload}), do: {:ok, payload}

  defp misplaced(options, where) when is_list(options) do
    case Enum.find(@not_here, &List.keymember?(options, &1, 0)) do
      nil ->
        :ok

      option ->
        place =
          if option == :on_error,
            do: "write on_error STAGE, POLICY below the stages",
            else: "give it to Slither.run_pipe/3"

        message = "option #{inspect(option)} belongs to the pipe: #{place}"
        {:error, %Error{reason: :unknown_option, message: message, where: where}}
    end
  end

  defp misplaced(_options, _where), do: :ok

  # Our own executors can tell without a pool whether they have all they need.
  defp target(options) do
    with true <- options[:executor] in [SnakeBridge, Snakepit],
         {:error, error} <- options[:executor].target(options),
         do: {:error, error},
         else: (_runnable -> :ok)
  end
end
