defmodule Slither.Driver.Tables do
  @moduledoc false
  # Tables that a driver asks for, each a store of its own with one table. On BEAM the tables have
  # all the same name, as a name from data makes no atom; Python knows each by its own. Requests
  # call it.

  @behaviour Slither.Store

  alias Slither.Driver.Faults
  alias Slither.Error
  alias Slither.Store.Server

  @supervisor Slither.Driver.Stores
  @types %{"set" => :set, "ordered_set" => :ordered_set}

  @doc "What the stores stand under."
  @spec supervisor() :: Supervisor.child_spec() | {module, keyword}
  def supervisor, do: {DynamicSupervisor, name: @supervisor, strategy: :one_for_one}

  @doc """
  Starts the table `name`, which workers and the driver share.

  A driver that was interrupted may not know that it has asked: with the same options, the table
  that is there already will do.
  """
  @spec open(map) :: {:ok, nil} | {:error, Exception.t()}
  def open(%{"name" => name} = spec) do
    with {:ok, type} <- type(spec["type"] || "set") do
      table = [name: :table, as: name, type: type, python: :read_write, ttl: spec["ttl"]]
      table = [durable: spec["dir"] != nil] ++ table
      options = [name: {__MODULE__, name}, tables: [table]]
      options = if spec["dir"], do: [dir: spec["dir"]] ++ options, else: options
      start(options)
    end
  end

  @impl true
  def tables, do: []

  @impl true
  def load(_tables), do: :ok

  defp start(options) do
    case DynamicSupervisor.start_child(@supervisor, {Server, {__MODULE__, options}}) do
      {:ok, _pid} ->
        :persistent_term.put(options[:name], options)
        {:ok, nil}

      {:error, %{__exception__: true} = error} ->
        {:error, error}

      {:error, {:already_started, _pid}} ->
        if :persistent_term.get(options[:name], nil) == options,
          do: {:ok, nil},
          else: {:error, taken(options[:name])}

      {:error, reason} ->
        {:error, failed(reason)}
    end
  end

  defp taken({_module, name}) do
    %Error{
      reason: :duplicate_table,
      message: "the table #{inspect(name)} is there already, with other options"
    }
  end

  defp failed(reason),
    do: %Error{reason: :store_failed, message: Exception.format_exit(reason)}

  defp type(name) do
    case @types do
      %{^name => type} -> {:ok, type}
      _ -> {:error, Faults.unknown("type", name, Map.keys(@types))}
    end
  end
end
