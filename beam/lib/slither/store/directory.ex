defmodule Slither.Store.Directory do
  @moduledoc false
  # Which ETS tables a store has right now: one persistent term per store, replaced as a whole,
  # so that all tables of a store change in one step.
  #
  # Measured (guides/store.md): a persistent term makes a `get` cost 1.2 to 1.4 bare lookups,
  # a directory in ETS 2.5, an atomic generation with a per-process cache 1.8. Replacing the
  # term makes every process scan its heap once; that happens once per reload.

  alias Slither.{Error, Options}

  defstruct [:store, :module, :generation, :tables, :aux, :dir]

  @type t :: %__MODULE__{
          store: term,
          module: module,
          generation: pos_integer,
          tables: %{atom => Slither.Store.Table.t()},
          aux: :ets.tid(),
          dir: String.t() | nil
        }

  @registry Slither.Store.Registry

  # What a `get` needs of the tables whose records read as values lies on top: anything deeper
  # was measured to cost too much.
  @spec publish(t) :: :ok
  def publish(%__MODULE__{store: store} = directory) do
    plain = for {name, %{shape: :value, tid: tid}} <- directory.tables, into: %{}, do: {name, tid}
    :persistent_term.put({__MODULE__, store}, {plain, directory})
  end

  @doc "The ETS table of a plain table, where `get` is a lookup and nothing else."
  defmacro plain(store, name) do
    quote do
      case :persistent_term.get({unquote(__MODULE__), unquote(store)}, nil) do
        {%{^unquote(name) => tid}, _directory} -> tid
        _ -> nil
      end
    end
  end

  @spec erase(term) :: boolean
  def erase(store), do: :persistent_term.erase({__MODULE__, store})

  @spec get(term) :: t | nil
  def get(store) do
    with {_plain, directory} <- :persistent_term.get({__MODULE__, store}, nil), do: directory
  end

  @spec get!(term) :: t
  def get!(store), do: get(store) || raise(unknown_store(store))

  @spec table!(term, atom) :: Slither.Store.Table.t()
  def table!(store, name), do: table_in!(get!(store), name)

  @spec table_in!(t, atom) :: Slither.Store.Table.t()
  def table_in!(%{tables: tables} = directory, name) do
    case tables do
      %{^name => table} -> table
      _ -> raise unknown_table(directory, name)
    end
  end

  @doc "Stores that are up, in order."
  @spec stores() :: [term]
  def stores do
    @registry
    |> Registry.select([{{{:owner, :"$1"}, :_, :_}, [], [:"$1"]}])
    |> Enum.filter(&get/1)
    |> Enum.sort()
  rescue
    # No registry: no store was ever started.
    ArgumentError -> []
  end

  @spec via(term, :owner | :instance | :heir | :sweeper) :: {:via, module, term}
  def via(store, role), do: {:via, Registry, {@registry, {role, store}}}

  @doc "The process of a store that is up; raises while it restarts."
  @spec whereis(term, :owner | :heir) :: pid
  def whereis(store, role), do: GenServer.whereis(via(store, role)) || raise(unavailable(store))

  @spec unavailable(term) :: Error.t()
  def unavailable(store) do
    %Error{
      reason: :store_unavailable,
      where: "store #{inspect(store)}",
      message: "is stopped or restarting",
      details: %{store: store}
    }
  end

  defp unknown_store(store) do
    known = stores()

    %Error{
      reason: :unknown_store,
      where: "store #{inspect(store)}",
      message: "is not running.#{Options.nearest(store, known)}",
      hint: "running stores: #{list(known)}",
      details: %{store: store, known: known}
    }
  end

  defp unknown_table(directory, name) do
    known = directory.tables |> Map.keys() |> Enum.sort()

    %Error{
      reason: :unknown_table,
      where: "store #{inspect(directory.store)}",
      message: "has no table #{inspect(name)}.#{Options.nearest(name, known)}",
      hint: "its tables: #{list(known)}",
      details: %{store: directory.store, table: name, known: known}
    }
  end

  defp list([]), do: "none"
  defp list(names), do: Enum.map_join(names, ", ", &inspect/1)
end
