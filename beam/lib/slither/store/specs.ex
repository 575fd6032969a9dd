defmodule Slither.Store.Specs do
  @moduledoc false
  # Checks what `tables/0` and `views/0` of a store return: lists of maps or keyword lists, each
  # with the keys that a table of options names, no name twice. Run in the process that starts the
  # store. Pure.

  alias Slither.{Error, Options}

  @doc """
  Checks each of `specs` by `options` and makes of it what `build` returns, which has a `name`.

  `kind` is what an error calls one, "table" say.
  """
  @spec check([map | keyword], keyword, String.t(), module, (keyword, String.t() -> result)) ::
          {:ok, [term]} | {:error, Error.t()}
        when result: {:ok, map} | {:error, Error.t()}
  def check(specs, options, kind, module, build) do
    specs
    |> Enum.with_index(1)
    |> Enum.reduce_while({:ok, []}, fn {spec, index}, {:ok, done} ->
      where = "#{kind} #{label(spec, index)} of #{inspect(module)}"
      spec = if is_map(spec) and not is_struct(spec), do: Map.to_list(spec), else: spec

      with {:ok, checked} <- Options.validate(spec, options, where),
           {:ok, built} <- build.(checked, where),
           :ok <- fresh(built, done, kind, where) do
        {:cont, {:ok, [built | done]}}
      else
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
    |> case do
      {:ok, done} -> {:ok, Enum.reverse(done)}
      error -> error
    end
  end

  defp fresh(built, done, kind, where) do
    if Enum.any?(done, &(&1.name == built.name)) do
      reason = if kind == "table", do: :duplicate_table, else: :duplicate_view
      {:error, %Error{reason: reason, where: where, message: "is named twice"}}
    else
      :ok
    end
  end

  defp label(%{name: name}, _index), do: inspect(name)
  defp label([{_, _} | _] = spec, index), do: inspect(Keyword.get(spec, :name, index))
  defp label(_spec, index), do: inspect(index)
end
