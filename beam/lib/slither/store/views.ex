defmodule Slither.Store.Views do
  @moduledoc false
  # Views that Python may call, by name. A name belongs to the store that registered it until
  # that store stops.

  alias Slither.{Error, Options}

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

  @spec docs() :: String.t()
  def docs, do: Options.docs(@specs)

  @spec check(term, module, term) :: {:ok, [view]} | {:error, Error.t()}
  def check(views, module, store) when is_list(views) do
    views
    |> Enum.with_index(1)
    |> Enum.reduce_while({:ok, []}, fn {view, index}, {:ok, done} ->
      where = "view #{label(view, index)} of #{inspect(module)}"
      view = if is_map(view) and not is_struct(view), do: Map.to_list(view), else: view

      with {:ok, checked} <- Options.validate(view, @specs, where),
           view = build(checked, module, store),
           :ok <- fresh(view, done, where) do
        {:cont, {:ok, done ++ [view]}}
      else
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  def check(views, module, _store) do
    message = "views/0 must return a list, got #{inspect(views, limit: 5)}"
    {:error, %Error{reason: :invalid_views, where: inspect(module), message: message}}
  end

  @doc "The view and the store it belongs to."
  @spec fetch(String.t()) :: {:ok, view} | :error
  def fetch(name) when is_binary(name) do
    case Registry.lookup(@registry, {:view, name}) do
      [{_heir, view}] -> {:ok, view}
      [] -> :error
    end
  rescue
    # No registry: no store was ever started.
    ArgumentError -> :error
  end

  @doc "Every view of every running store, by name."
  @spec all() :: [view]
  def all do
    @registry
    |> Registry.select([{{{:view, :_}, :_, :"$1"}, [], [:"$1"]}])
    |> Enum.sort_by(& &1.name)
  rescue
    ArgumentError -> []
  end

  @doc "The tables of a store that Python may use, to be registered with its views."
  @spec tables([Slither.Store.Table.t()], term) :: [map]
  def tables(tables, store) do
    for %{python: access} = table <- tables, access do
      %{name: table.as, table: table.name, store: store, access: access}
    end
  end

  @doc "The table of that name which Python may use."
  @spec fetch_table(String.t()) :: {:ok, map} | :error
  def fetch_table(name) do
    case Registry.lookup(@registry, {:table, name}) do
      [{_heir, table}] -> {:ok, table}
      [] -> :error
    end
  rescue
    ArgumentError -> :error
  end

  @doc "The names of all tables that Python may use."
  @spec table_names() :: [String.t()]
  def table_names do
    Registry.select(@registry, [{{{:table, :"$1"}, :_, :_}, [], [:"$1"]}])
  rescue
    ArgumentError -> []
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

    other =
      case Registry.lookup(@registry, {kind, name}) do
        [{_heir, %{store: store}}] -> "store #{inspect(store)}"
        [] -> "another store"
      end

    %Error{
      reason: if(kind == :view, do: :duplicate_view, else: :duplicate_table),
      where: "store #{inspect(view.store)}",
      message: "#{kind} #{inspect(name)} is already served to Python by #{other}",
      hint: "rename one, or start this store with `views: false`",
      details: %{kind => name, store: view.store}
    }
  end

  defp fresh(view, done, where) do
    if Enum.any?(done, &(&1.name == view.name)),
      do: {:error, %Error{reason: :duplicate_view, where: where, message: "is named twice"}},
      else: :ok
  end

  defp build(checked, module, store) do
    scope = Keyword.get(Application.get_env(:slither, :bridge, []), :default_scope, :session)

    checked
    |> Map.new()
    |> Map.put_new(:scope, scope)
    |> Map.merge(%{name: to_string(checked[:name]), store: store, module: module})
  end

  defp label(%{name: name}, _index), do: inspect(name)
  defp label([{_, _} | _] = view, index), do: inspect(Keyword.get(view, :name, index))
  defp label(_view, index), do: inspect(index)
end
