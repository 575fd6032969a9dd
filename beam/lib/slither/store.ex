defmodule Slither.Store do
  @moduledoc """
  Shared state on ETS: reads in the caller, writes through one owner, views for Python.

      defmodule MyApp.FeatureStore do
        @behaviour Slither.Store

        @impl true
        def tables, do: [%{name: :features, type: :set}]

        @impl true
        def load(tables) do
          :ets.insert(tables[:features], {"user:42", %{tier: "gold"}})
          :ok
        end
      end

  A store starts with its application (`config :slither, stores: [MyApp.FeatureStore]`), or in
  a supervisor of yours as `{Slither.Store.Server, MyApp.FeatureStore}`. Data is read and
  written with `Slither.Store.Server`.

  ## Tables

  `c:tables/0` returns maps or keyword lists with these keys:

  #{Slither.Store.Table.docs()}

  ## Views

  `c:views/0`, which is optional, returns maps or keyword lists with these keys:

  #{Slither.Store.Views.docs()}

  A view's name belongs to one running store, and another store with a view of that name does not
  start. Further instances of one module do: they serve no views while another instance does.

  ## Load and reload

  `c:load/1` gets a map of ETS table ids by name and fills them. It runs in a process of its
  own; the tables are protected, so the inserts must come from that process. No reader sees them
  before it is done. At a start, a failure stops the start with its reason; in a reload it
  changes nothing.

  A reload replaces all tables of the store in one step. What it means for writes:

    * Writes from before the reload are replaced by what `c:load/1` inserts.
    * Writes made while it loads go to the current tables at once, so their writers read them
      back. They are kept and put over the new tables, in order, before anybody sees these:
      each as the rows or keys it came to. They win over what was loaded. What is removed only
      because its `ttl` is over takes nothing loaded with it.
    * Durable tables stay as they are: see below.

  ## Durable tables

  With `durable: true` every acknowledged write is in a log first. `c:load/1` seeds such a table
  once: the first start that finds no log and loads writes the rows to it. From then on the log is
  the truth; what `c:load/1` inserts into the table is thrown away at later starts and reloads.
  A table that leaves `c:tables/0`, or is no longer durable, leaves the log at the next start.
  """

  @type tables :: %{atom => :ets.tid()}

  @doc "The tables' specs."
  @callback tables() :: [map | keyword]

  @doc "What Python may call."
  @callback views() :: [map | keyword]

  @doc "Fills the new, unseen tables."
  @callback load(tables) :: :ok | {:error, reason :: term}

  @optional_callbacks views: 0
end
