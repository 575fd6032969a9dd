defmodule Slither.Store.Config do
  @moduledoc false
  # What a store's processes need to know of it, checked by whoever starts the store before any of
  # them starts.

  alias Slither.{Error, Options}
  alias Slither.Store.{Errors, Table, Views}

  @options [
    name: [type: :any, doc: "What reads and writes call this instance; default: the module."],
    tables: [type: {:list, :any}, doc: "Specs of tables, in place of the module's `tables/0`."],
    dir: [
      type: :string,
      doc:
        "Directory of the durable tables' log; default: `config :slither, store_dir: …`. " <>
          "One running VM per directory."
    ],
    sync: [
      type: {:or, [{:in, [:always]}, :milliseconds]},
      default: :always,
      doc: "`:always`: on disk before a write returns; else milliseconds between syncs."
    ],
    compact_after: [
      type: :pos_integer,
      default: 10_000,
      doc: "Log entries after which the log is compacted."
    ],
    on_load_error: [
      type: {:in, [:stop, :start_empty]},
      default: :stop,
      doc: "What a start does when `load/1` fails; `:start_empty` logs it and starts."
    ],
    views: [
      type: :boolean,
      doc:
        "Whether this instance serves its views, and its tables to Python; default: unless " <>
          "another instance of its module does."
    ],
    sweep_interval: [
      type: :milliseconds,
      default: 5_000,
      doc: "Milliseconds between removals of records past their `ttl`."
    ],
    clock: [
      type: {:fun, 0},
      default: &__MODULE__.now/0,
      doc: "Gives the time in milliseconds for `ttl`; for tests."
    ]
  ]

  defstruct [:store, :module, :tables, :views, :dir, :sync, :compact_after] ++
              [:on_load_error, :sweep_interval]

  @typedoc "`dir` is nil where no table is durable; `views` are tables for Python, too."
  @type t :: %__MODULE__{
          store: term,
          module: module,
          tables: [Table.t()],
          views: [map],
          dir: Path.t() | nil,
          sync: :always | pos_integer,
          compact_after: pos_integer,
          on_load_error: :stop | :start_empty,
          sweep_interval: pos_integer
        }

  @spec docs() :: String.t()
  def docs, do: Options.docs(@options)

  @doc "The default clock. Wall-clock time, as deadlines of durable tables outlive the VM."
  @spec now() :: integer
  def now, do: System.system_time(:millisecond)

  @spec build(module, keyword) :: {:ok, t} | {:error, Error.t()}
  def build(module, options) do
    where = "Slither.Store.Server.start_link/2 of #{inspect(module)}"

    with {:ok, options} <- Options.validate(options, @options, where),
         store = Keyword.get(options, :name, module),
         :ok <- behaviour(module),
         {:ok, tables} <- tables(module, options),
         serves = Keyword.get(options, :views, :alone),
         {:ok, views} <- views(module, serves, store),
         {:ok, dir} <- dir(tables, options, where) do
      kept = Keyword.take(options, [:sync, :compact_after, :on_load_error, :sweep_interval])
      views = if serves, do: views ++ Views.tables(tables, module, store), else: []
      views = if serves == :alone and Views.served?(views), do: [], else: views
      own = [store: store, module: module, tables: tables, views: views, dir: dir]
      {:ok, struct!(__MODULE__, own ++ kept)}
    end
  end

  defp tables(module, options) do
    check = &Table.check(&1, module, options[:clock])
    if options[:tables], do: check.(options[:tables]), else: call(module, :tables, check)
  end

  defp views(_module, false, _store), do: {:ok, []}

  defp views(module, _serves, store) do
    if function_exported?(module, :views, 0),
      do: call(module, :views, &Views.check(&1, module, store)),
      else: {:ok, []}
  end

  defp call(module, function, check) do
    check.(apply(module, function, []))
  rescue
    error -> {:error, Errors.module_failed(module, function, Exception.message(error), error)}
  catch
    kind, value ->
      banner = Exception.format_banner(kind, value)
      {:error, Errors.module_failed(module, function, banner, {kind, value})}
  end

  defp behaviour(module) do
    missing =
      for {name, arity} <- [tables: 0, load: 1],
          not (is_atom(module) and Code.ensure_loaded?(module) and
                 function_exported?(module, name, arity)),
          do: "#{name}/#{arity}"

    if missing == [], do: :ok, else: {:error, Errors.not_a_store(module, missing)}
  end

  defp dir(tables, options, where) do
    dir = options[:dir] || Application.get_env(:slither, :store_dir)

    case Enum.find(tables, & &1.durable) do
      nil -> {:ok, nil}
      table when is_nil(dir) -> {:error, Errors.no_dir(where, table.name)}
      _table -> {:ok, dir}
    end
  end
end
