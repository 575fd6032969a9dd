defmodule Slither.Store.Config do
  @moduledoc false
  # Everything a store's processes need, checked in the caller before any of them starts.

  alias Slither.{Error, Options}
  alias Slither.Store.{Table, Views}

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
    views: [type: :boolean, default: true, doc: "Whether this instance serves its views."],
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

  @type t :: %__MODULE__{}

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
         {:ok, views} <- views(module, options[:views], store),
         {:ok, dir} <- dir(tables, options, where) do
      kept = Keyword.take(options, [:sync, :compact_after, :on_load_error, :sweep_interval])
      views = if options[:views], do: views ++ Views.tables(tables, store), else: views
      own = [store: store, module: module, tables: tables, views: views, dir: dir]
      {:ok, struct!(__MODULE__, own ++ kept)}
    end
  end

  defp tables(module, options) do
    check = &Table.check(&1, module, options[:clock])
    if options[:tables], do: check.(options[:tables]), else: call(module, :tables, check)
  end

  defp views(_module, false, _store), do: {:ok, []}

  defp views(module, true, store) do
    if function_exported?(module, :views, 0),
      do: call(module, :views, &Views.check(&1, module, store)),
      else: {:ok, []}
  end

  defp call(module, function, check) do
    check.(apply(module, function, []))
  rescue
    error -> {:error, failed(module, function, Exception.message(error), error)}
  catch
    kind, value ->
      {:error, failed(module, function, Exception.format_banner(kind, value), {kind, value})}
  end

  defp failed(module, function, message, cause) do
    %Error{
      reason: :store_module_failed,
      where: "#{inspect(module)}.#{function}/0",
      message: message,
      details: %{cause: cause}
    }
  end

  defp behaviour(module) do
    missing =
      for {name, arity} <- [tables: 0, load: 1],
          not (is_atom(module) and Code.ensure_loaded?(module) and
                 function_exported?(module, name, arity)),
          do: "#{name}/#{arity}"

    if missing == [] do
      :ok
    else
      {:error,
       %Error{
         reason: :not_a_store,
         where: inspect(module),
         message: "is no store: it lacks #{Enum.join(missing, " and ")}",
         hint: "see Slither.Store"
       }}
    end
  end

  defp dir(tables, options, where) do
    dir = options[:dir] || Application.get_env(:slither, :store_dir)

    case Enum.find(tables, & &1.durable) do
      nil ->
        {:ok, nil}

      %{name: name} when is_nil(dir) ->
        {:error,
         %Error{
           reason: :missing_option,
           where: where,
           message: "table #{inspect(name)} is durable, so option :dir is required",
           hint: "or set `config :slither, store_dir: …`",
           details: %{option: :dir, table: name}
         }}

      _table ->
        {:ok, dir}
    end
  end
end
