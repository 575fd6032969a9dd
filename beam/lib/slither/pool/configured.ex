defmodule Slither.Pool.Configured do
  @moduledoc false
  # Reads the pools of the configuration, for the application's start and for `mix slither.doctor`.

  alias Slither.Error

  @doc "Those that are to run, options by name; an error where it is no such list."
  @spec pools(term) :: {:ok, keyword(keyword)} | {:error, Error.t()}
  def pools(configured) when configured in [nil, false], do: {:ok, []}

  def pools(configured) do
    with true <- Keyword.keyword?(configured),
         # One that another file of the configuration has, and this one takes out.
         pools = Enum.reject(configured, &match?({_name, off} when off in [nil, false], &1)),
         true <- Enum.all?(Keyword.values(pools), &Keyword.keyword?/1) do
      unique(pools)
    else
      false ->
        message = "pools: takes options by name, or false, got #{inspect(configured)}"
        hint = "write pools: [default: [size: 2]]; false in place of the options takes one out"
        {:error, error(:invalid_option, message, hint)}
    end
  end

  defp unique(pools) do
    case Keyword.keys(pools) -- Enum.uniq(Keyword.keys(pools)) do
      [] -> {:ok, pools}
      [twice | _] -> {:error, error(:duplicate, "pool #{inspect(twice)} is there twice", nil)}
    end
  end

  defp error(reason, message, hint),
    do: %Error{reason: reason, where: "config :slither", message: message, hint: hint}
end
