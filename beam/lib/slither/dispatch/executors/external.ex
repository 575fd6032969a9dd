defmodule Slither.Dispatch.Executors.External do
  @moduledoc false
  # The real SnakeBridge and Snakepit, where a project has them.

  alias Slither.Python.Pool

  @doc "Whether the application is loaded in this node."
  @spec loaded?(atom) :: boolean
  def loaded?(application),
    do: :application.get_key(application, :vsn) != :undefined

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
  @spec run_call([String.t()], [Slither.Item.t()], Slither.Context.t(), keyword) ::
          {:ok, list} | {:error, term}
  def run_call(target, items, context, options) do
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
