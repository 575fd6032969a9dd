defmodule Slither.Test.FeatureStore do
  @moduledoc false
  # The store of the project's first page, and the one the doctests run on.
  @behaviour Slither.Store

  @impl true
  def tables, do: [%{name: :features, type: :set, read_concurrency: true}]

  @impl true
  def views do
    [
      %{
        name: :lookup_feature,
        mode: :scalar,
        scope: :session,
        handler: fn %{"key" => key}, _ctx ->
          case Slither.Store.Server.get(__MODULE__, :features, key) do
            nil -> %{"error" => "not_found"}
            value -> %{"value" => value}
          end
        end,
        timeout_ms: 5_000
      }
    ]
  end

  @impl true
  def load(tables) do
    :ets.insert(tables[:features], {"user:42", %{tier: "gold"}})
    :ok
  end
end

defmodule Slither.Test.Stores do
  @moduledoc false
  # Store modules made to measure, each under a name of its own, so that tests run side by side.

  alias Slither.Store.{Directory, Server}

  @doc "A store module; takes `tables`, `views` and `load`."
  def define(options \\ []) do
    module = Module.concat(__MODULE__, "Store#{System.unique_integer([:positive])}")

    spec = %{
      tables: Keyword.get(options, :tables, [%{name: :items}]),
      views: Keyword.get(options, :views, []),
      load: Keyword.get(options, :load, fn _tables -> :ok end)
    }

    :persistent_term.put({__MODULE__, module}, spec)
    Module.create(module, body(), Macro.Env.location(__ENV__))
    module
  end

  @doc "Defines a store, starts it under the test's supervisor and returns its name."
  def start(options \\ [], start_options \\ []) do
    module = define(options)
    ExUnit.Callbacks.start_supervised!({Server, {module, start_options}})
    Keyword.get(start_options, :name, module)
  end

  def spec(module), do: :persistent_term.get({__MODULE__, module})

  @doc "What a callback returns: `{:call, fun}` as an option runs the function."
  def value(module, name) do
    with {:call, fun} <- Map.fetch!(spec(module), name), do: fun.()
  end

  @doc "The store's serving process."
  def owner(store), do: GenServer.whereis(Directory.via(store, :owner))

  @doc "Kills the serving process and returns when it is gone."
  def kill_owner(store) do
    pid = owner(store)
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^ref, :process, ^pid, _reason} -> pid)
  end

  @doc "Returns once `fun` is true; for what no event tells of."
  def until(fun, tries \\ 5_000)
  def until(_fun, 0), do: ExUnit.Assertions.flunk("it never came true")

  def until(fun, tries) do
    unless fun.(), do: receive(after: (1 -> until(fun, tries - 1)))
  end

  defp body do
    quote do
      @behaviour Slither.Store
      @impl true
      def tables, do: unquote(__MODULE__).value(__MODULE__, :tables)
      @impl true
      def views, do: unquote(__MODULE__).value(__MODULE__, :views)
      @impl true
      def load(tables), do: unquote(__MODULE__).spec(__MODULE__).load.(tables)
    end
  end
end
