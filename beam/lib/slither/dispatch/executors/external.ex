defmodule Slither.Dispatch.Executors.External do
  @moduledoc false
  # The real SnakeBridge and Snakepit, where a project has them.

  @doc "Whether the application is loaded in this node."
  @spec loaded?(atom) :: boolean
  def loaded?(application),
    do: List.keymember?(Application.loaded_applications(), application, 0)

  @doc "Calls a library that may not be there, and takes a list of results out of its answer."
  @spec call(module, atom, list) :: {:ok, list} | {:error, term}
  def call(module, function, arguments) do
    case apply(module, function, arguments) do
      {:ok, results} when is_list(results) -> {:ok, results}
      {:ok, %{"results" => results}} when is_list(results) -> {:ok, results}
      {:ok, other} -> {:error, {:not_a_list, other}}
      {:error, reason} -> {:error, reason}
    end
  end

  @doc "One batch through the built-in pool, for those who call an executor by hand."
  @spec dispatch(module, [Slither.Item.t()], Slither.Context.t(), keyword) ::
          {:ok, list} | {:error, term}
  def dispatch(executor, items, context, options) do
    options =
      options
      |> Keyword.take([:module, :function, :command, :pool, :timeout, :session_id])
      |> Keyword.merge(executor: executor, metadata: context.metadata)

    case Slither.Dispatch.call_batch(items, options) do
      {:ok, results} -> {:ok, Enum.map(results, & &1.payload)}
      {:error, error, _partial} -> {:error, error}
    end
  end
end
