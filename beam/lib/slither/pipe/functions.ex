defmodule Slither.Pipe.Functions do
  @moduledoc false
  # The functions that a pipe from Python may name, read from the configuration by whoever parses a
  # document; the application's start checks them all.
  #
  #     config :slither, functions: %{"normalize" => {MyApp.Text, :normalize, 2}}

  alias Slither.{Error, Options}

  @where "config :slither, functions"

  @doc "The configured functions, checked for their shape."
  @spec all() :: {:ok, %{String.t() => {module, atom, 1 | 2}}} | {:error, Error.t()}
  def all do
    configured = Application.get_env(:slither, :functions, %{})

    cond do
      not (is_map(configured) or Keyword.keyword?(configured)) -> {:error, no_map(configured)}
      wrong = Enum.find(configured, &(not entry?(&1))) -> {:error, wrong_entry(wrong)}
      true -> {:ok, Map.new(configured, fn {name, mfa} -> {to_string(name), mfa} end)}
    end
  end

  @doc "The function of a name, or why there is none."
  @spec fetch(String.t()) :: {:ok, fun} | {:error, String.t()}
  def fetch(name) do
    with {:ok, functions} <- all() do
      case functions do
        %{^name => {module, function, arity}} -> capture(name, module, function, arity)
        _ -> {:error, unknown(name, Map.keys(functions))}
      end
    else
      {:error, error} -> {:error, Exception.message(error)}
    end
  end

  defp capture(name, module, function, arity) do
    if Code.ensure_loaded?(module) and function_exported?(module, function, arity) do
      {:ok, Function.capture(module, function, arity)}
    else
      mfa = Exception.format_mfa(module, function, arity)
      {:error, "#{inspect(name)} is #{mfa} in the configuration, which is not defined"}
    end
  end

  defp unknown(name, []) do
    what = "no function #{inspect(name)} is configured; "

    if Slither.Reader.python?(),
      do: what <> "a Beam that Python starts has none: use .python(…), or an expression",
      else:
        what <>
          "name it in the configuration: " <>
          ~s(config :slither, functions: %{#{inspect(name)} => {MyApp.Text, :normalize, 2}})
  end

  defp unknown(name, known) do
    list = known |> Enum.sort() |> Enum.map_join(", ", &inspect/1)
    "no function #{inspect(name)} is configured.#{Options.nearest(name, known)} Known: #{list}"
  end

  defp entry?({name, {module, function, arity}}),
    do:
      (is_binary(name) or is_atom(name)) and is_atom(module) and is_atom(function) and
        arity in [1, 2]

  defp entry?(_other), do: false

  defp no_map(configured),
    do: %Error{
      reason: :invalid_option,
      where: @where,
      message: "takes a map, got #{inspect(configured, limit: 5)}",
      hint: ~s(write functions: %{"normalize" => {MyApp.Text, :normalize, 2}})
    }

  defp wrong_entry(entry),
    do: %Error{
      reason: :invalid_option,
      where: @where,
      message: "takes {module, function, arity 1 or 2} by name, got #{inspect(entry, limit: 5)}",
      details: %{entry: entry}
    }
end
