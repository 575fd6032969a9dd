defmodule Slither.Stage.Beam do
  @options [
    handler: [
      type: {:fun, [1, 2]},
      doc: "Takes an item, and the context if it wants it; see `Slither.Stage`."
    ],
    batch_handler: [
      type: {:fun, [1, 2]},
      doc:
        "Takes a list of items instead, and returns a list of answers of the same length, or `{:ok, list}`."
    ],
    cardinality: [
      type: {:in, [:one, :many]},
      default: :one,
      doc: "With `:many` the handler returns a list, and each element becomes an item."
    ],
    concurrency: [
      type: :pos_integer,
      default: 1,
      doc: "Processes that share the items, for handlers that take long; the order is kept."
    ]
  ]

  @moduledoc """
  A stage that runs a function on BEAM.

      stage :prepare, :beam, handler: fn item, _context -> %{"text" => item.payload} end

  Exactly one of `handler` and `batch_handler` is given. It runs in the process of the run;
  with `concurrency:` above 1, or where the stage's policy is `{:retry, …}`, in processes beside
  it that live as long as the run does: other stages go on while one waits to try again.

  It can be called without a pipe, and answers what its handler did (see `Slither.Stage`):

      iex> {:ok, state} = Slither.Stage.Beam.init(handler: &(&1.payload * 2))
      iex> context = Slither.Context.new()
      iex> Slither.Stage.Beam.handle_batch(Slither.Item.wrap_many([1, 2]), context, state)
      [2, 4]

  ## Options

  #{Slither.Options.docs(@options)}
  """

  @behaviour Slither.Stage
  @behaviour Slither.Stage.Type

  alias Slither.{Error, Options}
  alias Slither.Run.Handler

  # Read once, for `init/1` checks with every run.
  @read Options.read(@options)

  @impl Slither.Stage.Type
  @doc false
  @spec options() :: Options.table()
  def options, do: @options

  @impl Slither.Stage.Type
  @doc false
  @spec check(term, String.t()) :: {:ok, keyword} | {:error, Error.t()}
  def check(options, where) do
    with {:ok, options} <- Options.validate(options, @read, where) do
      case {options[:handler], options[:batch_handler]} do
        {nil, nil} ->
          error(:missing_option, where, "a beam stage needs handler: or batch_handler:")

        {handler, batch_handler} when handler != nil and batch_handler != nil ->
          error(:invalid_option, where, "takes handler: or batch_handler:, not both")

        _one ->
          {:ok, options}
      end
    end
  end

  @impl Slither.Stage
  @spec init(keyword) :: {:ok, map} | {:error, Error.t()}
  def init(options) do
    with {:ok, options} <- check(options, "Slither.Stage.Beam.init/1") do
      {:ok,
       %{
         handler: options[:handler] && binary(options[:handler]),
         batch_handler: options[:batch_handler] && binary(options[:batch_handler]),
         many: options[:cardinality] == :many
       }}
    end
  end

  @impl Slither.Stage
  @spec handle_item(Slither.Item.t(), Slither.Context.t(), map) :: Slither.Stage.answer()
  def handle_item(item, context, %{handler: nil} = state) do
    case handle_batch([item], context, state) do
      [answer] -> answer
      other -> raise Error, reason: :invalid_return, message: Handler.wrong_count(other, 1)
    end
  end

  def handle_item(item, context, state), do: answer(state.handler.(item, context), state)

  @impl Slither.Stage
  @spec handle_batch([Slither.Item.t(), ...], Slither.Context.t(), map) :: [term]
  def handle_batch(items, context, %{batch_handler: nil} = state),
    do: Enum.map(items, &handle_item(&1, context, state))

  def handle_batch(items, context, state) do
    case state.batch_handler.(items, context) do
      answers when is_list(answers) -> Enum.map(answers, &answer(&1, state))
      {:ok, answers} when is_list(answers) -> Enum.map(answers, &answer(&1, state))
      other -> raise Error, reason: :invalid_return, message: not_a_list(other)
    end
  end

  @impl Slither.Stage
  @spec shutdown(map) :: :ok
  def shutdown(_state), do: :ok

  defp answer(payloads, %{many: true}) when is_list(payloads), do: {:many, payloads}
  defp answer({:ok, payloads}, %{many: true}) when is_list(payloads), do: {:many, payloads}

  defp answer({tag, _} = answer, %{many: true}) when tag in [:skip, :error], do: answer
  defp answer({:route, _, _} = answer, %{many: true}), do: answer

  defp answer(other, %{many: true}) do
    raise Error,
      reason: :invalid_return,
      message: "a handler with cardinality: :many returns a list, got #{short(other)}"
  end

  defp answer(answer, _state), do: answer

  defp binary(fun) when is_function(fun, 2), do: fun
  defp binary(fun), do: fn items, _context -> fun.(items) end

  defp not_a_list(other), do: "a batch_handler returns a list, got #{short(other)}"
  defp short(value), do: inspect(value, limit: 5, printable_limit: 80)

  defp error(reason, where, message),
    do: {:error, %Error{reason: reason, message: message, where: where}}
end
