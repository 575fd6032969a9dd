defmodule Slither.Stage.Router do
  @options [
    routes: [
      type:
        {:custom, "a list of {function of arity 1 or 2, output or later stage}",
         &__MODULE__.routes?/1},
      required: true,
      doc: "Tried in order; the first whose function is true takes the item."
    ]
  ]

  @moduledoc """
  A stage that sends items to outputs.

      stage :route, :router,
        routes: [
          {fn item -> item.payload["score"] >= 0.8 end, :accept},
          {fn item -> item.payload["score"] >= 0.4 end, :review}
        ]

  A routed item leaves the pipe here, or with the name of a later stage goes on there, in its
  place in the order; one that no route takes flows on.

  It can be called without a pipe:

      iex> {:ok, routes} = Slither.Stage.Router.init(routes: [{&(&1.payload > 5), :high}])
      iex> items = Slither.Item.wrap_many([9, 1])
      iex> Slither.Stage.Router.handle_batch(items, Slither.Context.new(), routes)
      [{:route, :high, 9}, {:ok, 1}]

  ## Options

  #{Slither.Options.docs(@options)}
  """

  @behaviour Slither.Stage
  @behaviour Slither.Stage.Type

  alias Slither.Options

  # Read once, for `init/1` checks with every run.
  @read Options.read(@options)

  @impl Slither.Stage.Type
  @doc false
  @spec options() :: Options.table()
  def options, do: @options

  @impl Slither.Stage.Type
  @doc false
  @spec check(term, String.t()) :: {:ok, keyword} | {:error, Slither.Error.t()}
  def check(options, where), do: Options.validate(options, @read, where)

  @doc false
  @spec routes?(term) :: boolean
  def routes?(routes), do: is_list(routes) and Enum.all?(routes, &route?/1)

  @doc false
  @spec outputs(keyword) :: [atom | String.t()]
  def outputs(options), do: Enum.map(options[:routes], &elem(&1, 1))

  @impl Slither.Stage
  @spec init(keyword) :: {:ok, [{fun, atom | String.t()}]} | {:error, Slither.Error.t()}
  def init(options) do
    with {:ok, options} <- check(options, "Slither.Stage.Router.init/1"),
         do: {:ok, options[:routes]}
  end

  @impl Slither.Stage
  @spec handle_item(Slither.Item.t(), Slither.Context.t(), [{fun, atom | String.t()}]) ::
          term
  def handle_item(item, context, routes) do
    case Enum.find(routes, fn {test, _output} -> test(test, item, context) end) do
      {_test, output} -> {:route, output, item.payload}
      nil -> {:ok, item.payload}
    end
  end

  @impl Slither.Stage
  @spec handle_batch([Slither.Item.t(), ...], Slither.Context.t(), [{fun, atom | String.t()}]) ::
          [term]
  def handle_batch(items, context, routes), do: Enum.map(items, &handle_item(&1, context, routes))

  @impl Slither.Stage
  @spec shutdown([{fun, atom | String.t()}]) :: :ok
  def shutdown(_routes), do: :ok

  defp test(test, item, _context) when is_function(test, 1), do: test.(item)
  defp test(test, item, context), do: test.(item, context)

  defp route?({test, output}),
    do: (is_function(test, 1) or is_function(test, 2)) and name?(output)

  defp route?(_other), do: false

  defp name?(output), do: (is_atom(output) and output != nil) or is_binary(output)
end
