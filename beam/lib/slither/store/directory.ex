defmodule Slither.Store.Directory do
  @moduledoc false
  # Which ETS tables a store has right now: one persistent term per store, replaced as a whole,
  # so that all tables of a store change in one step. Every reader and writer looks here first;
  # the heir alone publishes.
  #
  # Measured (guides/store.md): a persistent term makes a `get` cost 1.2 to 1.4 bare lookups,
  # a directory in ETS 2.5, an atomic generation with a per-process cache 1.8. Replacing the
  # term makes every process scan its heap once; that happens once per reload.

  alias Slither.Store.{Errors, Processes, Table}

  defstruct [:store, :module, :generation, :tables, :processes, :dir]

  @type t :: %__MODULE__{
          store: term,
          module: module,
          generation: pos_integer,
          tables: %{atom => Table.t()},
          processes: Processes.t(),
          dir: String.t() | nil
        }

  @registry Slither.Store.Registry

  # The ETS tables that a plain `get` reads are at the top of the term. Measured, a lookup deeper
  # in it costs too much.
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

  @doc "The directory of a store, by its name or by the pid of its supervisor or its owner."
  @spec get(term) :: t | nil
  def get(store) do
    case :persistent_term.get({__MODULE__, store}, nil) do
      {_plain, directory} -> directory
      nil when is_pid(store) -> of_pid(store)
      nil -> nil
    end
  end

  defp of_pid(pid) do
    case Registry.keys(@registry, pid) do
      [{role, store} | _] when role in [:instance, :owner] -> get(store)
      _ -> nil
    end
  rescue
    # Without a registry no store was ever started.
    ArgumentError -> nil
  end

  @spec get!(term) :: t
  def get!(store), do: get(store) || raise(Errors.unknown_store(store, stores()))

  @spec table!(t, atom) :: Table.t()
  def table!(%__MODULE__{tables: tables} = directory, name) do
    case tables do
      %{^name => table} -> table
      _ -> raise Errors.unknown_table(directory.store, name, tables |> Map.keys() |> Enum.sort())
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
    ArgumentError -> []
  end

  @spec via(term, :owner | :instance | :heir | :sweeper) :: {:via, module, term}
  def via(store, role), do: {:via, Registry, {@registry, {role, store}}}

  @doc "The heir of a store that is up; raises while it restarts."
  @spec heir(term) :: pid
  def heir(store),
    do: GenServer.whereis(via(store, :heir)) || raise(Errors.unavailable(store))
end
