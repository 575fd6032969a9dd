defmodule Slither.Pool.Configured do
  @moduledoc false
  # Reads the pools, gathers and rates of the configuration, for the application's start and for
  # `mix slither.doctor`.

  alias Slither.Error

  @pools "write pools: [default: [size: 2]]; false in place of the options takes one out"
  @rates "write rates: [openai: [items: 100, per: 60_000]]; false in place of the options takes one out"
  @gathers "write gathers: [embed: [module: \"my_model\", function: \"embed_batch\"]]; false in " <>
             "place of the options takes one out"

  @doc "The pools that are to run, options by name; an error where it is no such list."
  @spec pools(term) :: {:ok, keyword(keyword)} | {:error, Error.t()}
  def pools(configured), do: named("pool", configured, @pools)

  @doc "The gathers that are to run, likewise."
  @spec gathers(term) :: {:ok, keyword(keyword)} | {:error, Error.t()}
  def gathers(configured), do: named("gather", configured, @gathers)

  @doc "The rates that are to run, likewise."
  @spec rates(term) :: {:ok, keyword(keyword)} | {:error, Error.t()}
  def rates(configured), do: named("rate", configured, @rates)

  defp named(_what, configured, _hint) when configured in [nil, false], do: {:ok, []}

  defp named(what, configured, hint) do
    with true <- Keyword.keyword?(configured),
         # One that another file of the configuration has, and this one takes out.
         listed = Enum.reject(configured, &match?({_name, off} when off in [nil, false], &1)),
         true <- Enum.all?(Keyword.values(listed), &Keyword.keyword?/1) do
      unique(what, listed)
    else
      false ->
        message = "#{what}s: takes options by name, or false, got #{inspect(configured)}"
        {:error, error(:invalid_option, message, hint)}
    end
  end

  defp unique(what, listed) do
    case Keyword.keys(listed) -- Enum.uniq(Keyword.keys(listed)) do
      [] -> named_once(what, listed)
      [twice | _] -> {:error, error(:duplicate, "#{what} #{inspect(twice)} is there twice", nil)}
    end
  end

  defp named_once(what, listed) do
    case Enum.find(listed, fn {name, options} -> Keyword.get(options, :name, name) != name end) do
      nil ->
        {:ok, listed}

      {name, options} ->
        message = "#{what} #{inspect(name)} has another name inside, #{inspect(options[:name])}"
        {:error, error(:invalid_option, message, "its key is its name: leave name: out")}
    end
  end

  defp error(reason, message, hint),
    do: %Error{reason: reason, where: "config :slither", message: message, hint: hint}
end
