defmodule Slither.Store.Views do
  @moduledoc false
  # Views that Python may call and tables that it may use, by name. A name belongs to the store
  # whose heir registered it, until that ends. Whoever starts a store checks its views; the bridge
  # looks them up.

  alias Slither.{Error, Options}
  alias Slither.Store.{Errors, Specs, Table}

  @registry Slither.Store.Registry

  @specs [
    name: [type: :name, required: true, doc: "What Python calls."],
    mode: [type: {:in, [:scalar, :batch]}, default: :scalar, doc: "One params or a list of them."],
    scope: [type: {:in, [:session, :global]}, doc: "Default: `bridge: [default_scope: …]`."],
    handler: [type: {:fun, [1, 2]}, required: true, doc: "`(params)` or `(params, context)`."],
    timeout_ms: [type: :milliseconds, default: 5_000, doc: "Milliseconds a call may take."]
  ]

  @type view :: %{
          name: String.t(),
          mode: :scalar | :batch,
          scope: :session | :global,
          handler: (term -> term) | (term, term -> term),
          timeout_ms: pos_integer,
          store: term,
          module: module
        }

  @typedoc "A table as Python knows it: `name` is its name there, `table` that in its store."
  @type table :: %{
          name: String.t(),
          table: atom,
          access: :read | :read_write,
          store: term,
          module: module
        }

  @spec docs() :: String.t()
  def docs, do: Options.docs(@specs)

  @spec check(term, module, term) :: {:ok, [view]} | {:error, Error.t()}
  def check(views, module, store) when is_list(views) do
    scope = Keyword.get(Application.get_env(:slither, :bridge, []), :default_scope, :session)

    Specs.check(views, @specs, "view", module, fn checked, _where ->
      own = %{name: to_string(checked[:name]), store: store, module: module}
      {:ok, checked |> Map.new() |> Map.put_new(:scope, scope) |> Map.merge(own)}
    end)
  end

  def check(views, module, _store) do
    message = "views/0 must return a list, got #{inspect(views, limit: 5)}"
    {:error, %Error{reason: :invalid_views, where: inspect(module), message: message}}
  end

  @doc "The view of that name, which says what store it belongs to."
  @spec fetch(String.t()) :: {:ok, view} | :error
  def fetch(name) when is_binary(name), do: find({:view, name})

  @doc "The table of that name which Python may use."
  @spec fetch_table(String.t()) :: {:ok, table} | :error
  def fetch_table(name), do: find({:table, name})

  defp find(key) do
    case Registry.lookup(@registry, key) do
      [{_heir, found}] -> {:ok, found}
      [] -> :error
    end
  rescue
    # Without a registry no store was ever started.
    ArgumentError -> :error
  end

  @doc "Every view of every running store, by name."
  @spec all() :: [view]
  def all, do: Enum.sort_by(select(:view), & &1.name)

  @doc "The names of all tables that Python may use."
  @spec table_names() :: [String.t()]
  def table_names, do: Enum.map(select(:table), & &1.name)

  defp select(kind) do
    Registry.select(@registry, [{{{kind, :_}, :_, :"$1"}, [], [:"$1"]}])
  rescue
    ArgumentError -> []
  end

  @doc "The tables of a store that Python may use, to be registered with its views."
  @spec tables([Table.t()], module, term) :: [table]
  def tables(tables, module, store) do
    for %{python: access} = table <- tables, access do
      own = %{store: store, module: module}
      Map.merge(own, %{name: table.as, table: table.name, access: access})
    end
  end

  @doc "Whether another instance of the same module serves one of these."
  @spec served?([view | table]) :: boolean
  def served?(views) do
    Enum.any?(views, fn %{module: module, store: store} = view ->
      case find(key(view)) do
        {:ok, %{module: ^module, store: other}} -> other != store
        _mine_or_free -> false
      end
    end)
  end

  @doc "Registers views and tables in the calling process's name: all of them or none."
  @spec register([map]) :: :ok | {:error, Error.t()}
  def register(views) do
    Enum.reduce_while(views, {:ok, []}, fn view, {:ok, done} ->
      case Registry.register(@registry, key(view), view) do
        {:ok, _} ->
          {:cont, {:ok, [view | done]}}

        {:error, {:already_registered, _heir}} ->
          Enum.each(done, &Registry.unregister(@registry, key(&1)))
          {:halt, {:error, taken(view)}}
      end
    end)
    |> case do
      {:ok, _done} -> :ok
      error -> error
    end
  end

  defp key(%{access: _} = table), do: {:table, table.name}
  defp key(view), do: {:view, view.name}

  defp taken(view) do
    {kind, name} = key(view)

    case find({kind, name}) do
      {:ok, %{store: other}} -> Errors.taken(view.store, kind, name, "store #{inspect(other)}")
      :error -> Errors.taken(view.store, kind, name, "another store")
    end
  end
end
