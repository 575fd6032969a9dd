defmodule Slither.Dispatch.Executors.External do
  @moduledoc false
  # What the executors that name a target share, in the process that runs a batch: the call through
  # the built-in pool, or through the real SnakeBridge or Snakepit where a project has them.

  alias Slither.Error
  alias Slither.Python.Pool

  @doc "Whether the application is loaded in this node."
  @spec loaded?(atom) :: boolean
  def loaded?(application),
    do: :application.get_key(application, :vsn) != :undefined

  @doc """
  Runs one batch where its target says. `library` makes the call to the library, of the payloads.

  A dispatch hands batches with a target to the pool itself: this is for those that have none, and
  for those who call an executor by hand.
  """
  @spec execute(
          {:ok, [String.t()]} | :external | {:error, Error.t()},
          {[Slither.Item.t()], Slither.Context.t(), keyword},
          ([term] -> {module, atom, list}) | nil
        ) :: {:ok, list} | {:error, term}
  def execute(target, batch, library \\ nil)
  def execute({:error, error}, _batch, _library), do: {:error, error}
  def execute({:ok, target}, batch, _library), do: through_pool(target, batch)

  def execute(:external, {items, _context, _options}, library) do
    {module, function, arguments} = library.(Enum.map(items, & &1.payload))

    case apply(module, function, arguments) do
      {:ok, results} when is_list(results) -> {:ok, results}
      {:ok, %{"results" => results}} when is_list(results) -> {:ok, results}
      {:ok, other} -> {:error, {:not_a_list, other}}
      {:error, reason} -> {:error, reason}
    end
  end

  defp through_pool(target, {items, context, options}) do
    payloads = Enum.map(items, & &1.payload)
    run = :erlang.term_to_binary(context)
    call = Keyword.take(options, [:timeout, :session_id, :on_session_lost])

    case Pool.call(options[:pool] || :default, target, payloads, [run: run] ++ call) do
      {:ok, results, errors} when errors == %{} -> {:ok, results}
      {:ok, _results, errors} -> {:error, errors |> Map.values() |> hd()}
      {:error, error} -> {:error, error}
    end
  end
end
