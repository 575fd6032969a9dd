defmodule Slither.Pipe.Library do
  @moduledoc false
  # The pipes that came from Python, by their names, in a table of the process that starts the
  # application. Callers of `from_python/3` write the table, and runs read it. A definition is
  # replaced as a whole, and runs that have begun keep the one that they began with.

  alias Slither.{Error, Options}
  alias Slither.Pipe.{Definition, Document}
  alias Slither.Python.Pool

  @table __MODULE__
  @where "Slither.Pipe.from_python/3"

  @options [
    timeout: [type: :timeout, default: 60_000, doc: "ms that importing the module may take."]
  ]

  @doc "The options of `from_python/3` as Markdown."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@options)

  @doc "Makes the table, which belongs to the calling process."
  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
    :ok
  end

  @doc "Reads the pipes of a Python module and puts them in place of those it had."
  @spec from_python(Pool.name(), String.t(), keyword) ::
          {:ok, [String.t()]} | {:error, Error.t()}
  def from_python(pool, module, options) do
    with {:ok, options} <- Options.validate(options, @options, @where),
         :ok <- module_name(module),
         {:ok, documents} <- fetch(pool, module, options[:timeout]),
         {:ok, definitions} <- parse(documents, pool, []) do
      put(Enum.zip_with(definitions, documents, &{&1.name, &1, {pool, &2}, module}), module)
    end
  end

  @doc "The pipe of a name."
  @spec fetch(String.t()) :: {:ok, Definition.t()} | {:error, Error.t()}
  def fetch(name) do
    case :ets.lookup(@table, name) do
      [{_name, definition, _source, _module}] -> {:ok, definition}
      [] -> {:error, unknown(name)}
    end
  end

  # Callers write in turn, so that no two of them find the same name free.
  defp put(rows, module) do
    :global.trans({@table, self()}, fn -> replace(rows, module) end, [node()])
  end

  defp replace(rows, module) do
    others = Enum.flat_map(rows, &others(&1, module))

    case Enum.find(others, fn {row, other} -> elem(row, 2) != elem(other, 2) end) do
      nil ->
        # A pipe that this module only imports stays with the module that made it.
        mine = rows -- Enum.map(others, &elem(&1, 0))
        names = Enum.map(rows, &elem(&1, 0))
        gone = :ets.select(@table, [{{:"$1", :_, :_, module}, [], [:"$1"]}]) -- names
        :ets.insert(@table, mine)
        Enum.each(gone, &:ets.delete(@table, &1))
        {:ok, names}

      {{name, _, _, _}, {_, _, _, other}} ->
        message = "pipe #{inspect(name)} of #{module} has the name of another, of #{other}"
        error(:duplicate, message, %{name: name, module: other})
    end
  end

  defp others({name, _definition, _source, _module} = row, module) do
    for {_, _, _, owner} = other <- :ets.lookup(@table, name), owner != module, do: {row, other}
  end

  defp module_name(module) do
    if is_binary(module) and module != "" and String.valid?(module),
      do: :ok,
      else: error(:invalid_input, "takes a module's name, got #{inspect(module)}", %{})
  end

  # The worker answers a call of one item with the list of documents.
  defp fetch(pool, module, timeout) do
    case Pool.call(pool, ["pipes", module], [nil], timeout: timeout) do
      {:ok, [[]], _errors} -> error(:no_pipes, no_pipes(module), %{module: module})
      {:ok, [documents], errors} when errors == %{} and is_list(documents) -> {:ok, documents}
      {:ok, other, errors} -> error(:protocol_error, strange(other, errors), %{})
      {:error, error} -> {:error, error}
    end
  end

  defp parse([document | documents], pool, parsed) do
    with {:ok, definition} <- Document.parse(document, pool: pool),
         do: parse(documents, pool, [definition | parsed])
  end

  defp parse([], _pool, parsed), do: {:ok, Enum.reverse(parsed)}

  defp no_pipes(module),
    do: "module #{module} has no pipe: none of its public names is a slither.Pipe"

  defp strange(other, errors),
    do: "the worker gave no documents: #{inspect({other, errors}, limit: 5)}"

  defp unknown(name) do
    known = Enum.sort(:ets.select(@table, [{{:"$1", :_, :_, :_}, [], [:"$1"]}]))
    list = if known == [], do: "none", else: Enum.map_join(known, ", ", &inspect/1)

    %Error{
      reason: :unknown_pipe,
      where: "pipe #{inspect(name)}",
      message: "no pipe from Python has that name.#{Options.nearest(name, known)}",
      hint: "known: #{list}; Slither.Pipe.from_python/3 reads those of a module",
      details: %{known: known}
    }
  end

  defp error(reason, message, details),
    do: {:error, %Error{reason: reason, where: @where, message: message, details: details}}
end
