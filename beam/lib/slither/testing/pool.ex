defmodule Slither.Testing.Pool do
  @options [
    name: [type: :atom, default: :default, doc: "The pool's name."],
    size: [type: :pos_integer, default: 2, doc: "Workers: calls that run at once."],
    functions: [
      type: :map,
      required: true,
      doc:
        "Elixir functions by what they stand in for: `\"module.function\"`, or the name of a " <>
          "registered command."
    ]
  ]

  @moduledoc """
  A pool whose workers run Elixir functions in place of Python, for an application's tests.

  Whatever your application does with a pool of that name works as it is: `Slither.call/4`,
  dispatches, pipes that run as long as the application, gathers and sessions. Only what Python
  would do is a function. One line of configuration leaves the real pools out:

      # config/test.exs
      config :slither, pools: false

      # test/test_helper.exs, or the test that needs it
      start_supervised!(
        {Slither.Testing.Pool,
         functions: %{
           "math.pow" => fn x, y -> x ** y end,
           "my_model.predict_batch" => fn rows -> Enum.map(rows, &Map.put(&1, "score", 0.9)) end
         }}
      )

      {:ok, 8} = Slither.call("math", "pow", [2, 3])

  ## Functions

  What a function takes depends on how it is called:

    * by `Slither.call/4` and its kin: the arguments, and a map of the keyword arguments behind
      them where there are any;
    * by `Slither.stream_call/4`: the same, and returns a list or a stream of the values;
    * for a batch: the list of payloads, and returns a list of as many results;
    * for a batch with `each: true`: one payload, and returns one result. An exception fails that
      item alone.

  A function for batches may take the `Slither.Context` as a second argument. `{:error, reason}`
  is what a `slither.worker.Failure` is in Python. An exception is one of Python's
  (`reason: :python_exception`, its class the type of the exception in Elixir), and a
  `Slither.Error` is itself. What functions get and give crosses as values do to Python and back.

  `item_timeout` counts for a batch here, with as much time as its items have together: a batch that
  is over it fails whole, where Python fails the item at fault alone.

  ## Options

  #{Slither.Options.docs(@options)}
  """

  alias Slither.{Error, Options}
  alias Slither.Pool.Settings
  alias Slither.Python.Pool
  alias Slither.Testing.Worker

  @where "Slither.Testing.Pool.start_link/1"

  @doc "A child specification, for `start_supervised!/1`."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if Keyword.keyword?(options), do: Keyword.get(options, :name, :default)

    %{
      id: {__MODULE__, name},
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  Starts a pool.

  Returns `{:error, error}` for options it can't use, and `{:error, {:already_started, pid}}` where a
  pool of its name runs.
  """
  @spec start_link(keyword) :: Supervisor.on_start() | {:error, Error.t()}
  def start_link(options) do
    with {:ok, own} <- Options.validate(options, @options, @where),
         :ok <- functions(own[:functions]),
         # With a window of one, a lane is a worker: its calls run one by one.
         {:ok, checked} <- Pool.check(name: own[:name], size: own[:size], window: 1) do
      settings = Settings.new(checked, Application.fetch_env!(:slither, :view_server))
      owner = {Worker, own[:functions]}
      Pool.start(%{settings | owner: owner})
    end
  end

  defp functions(functions) do
    case Enum.find(functions, fn {name, f} -> not (is_binary(name) and is_function(f)) end) do
      nil ->
        :ok

      {name, function} ->
        message =
          "option :functions takes functions by names such as \"math.pow\", got " <>
            inspect(%{name => function})

        {:error, %Error{reason: :invalid_option, where: @where, message: message}}
    end
  end
end
