defmodule Slither.Pipe.Document.Policies do
  @moduledoc false
  # Reads the error policies of documents, and of a driver's maps, as those of the DSL, in the
  # process that parses them.

  alias Slither.{DispatchError, Expression, PipeError}
  alias Slither.Run.Policy
  alias Slither.Pipe.Document.Fields

  @doc "A policy; `path` leads to it."
  @spec policy(term, String.t()) :: term
  def policy("halt", _path), do: :halt
  def policy("skip", _path), do: :skip

  def policy(%{"route" => route} = fields, path) do
    Fields.known(fields, path, ["route"])
    path = Fields.under(path, "route")

    if is_binary(route),
      do: {:route, Fields.name(route, path)},
      else: {:route, chooser(Fields.expression(route, path, [:error]))}
  end

  def policy(%{"retry" => options} = fields, path) do
    Fields.known(fields, path, ["retry"])
    path = Fields.under(path, "retry")
    options = Fields.map(options, path)
    Fields.known(options, path, ~w(max_attempts base_ms max_ms jitter on then))

    policy = {:retry, for({name, value} <- Enum.sort(options), do: option(name, value, path))}

    case Policy.new(policy) do
      {:ok, _policy} -> policy
      {:error, error} -> Fields.refuse(path, error.message)
    end
  end

  def policy(other, path) do
    Fields.refuse(
      path,
      ~s(takes "halt", "skip", {"route": output or expression} or {"retry": {…}}, got ) <>
        Fields.short(other)
    )
  end

  defp option("max_attempts", value, _path), do: {:max_attempts, value}
  defp option("base_ms", value, _path), do: {:base_ms, value}
  defp option("max_ms", value, _path), do: {:max_ms, value}
  defp option("jitter", value, _path), do: {:jitter, value}
  defp option("then", value, path), do: {:then, policy(value, Fields.under(path, "then"))}
  defp option("on", "any", _path), do: {:on, :any}

  defp option("on", reasons, path) do
    known = Map.new(reasons(), &{Atom.to_string(&1), &1})
    path = Fields.under(path, "on")

    if is_list(reasons) and not List.improper?(reasons) do
      {:on, for(reason <- reasons, do: Map.get(known, reason) || unknown(reason, known, path))}
    else
      Fields.refuse(path, ~s(takes "any" or a list of reasons, got #{Fields.short(reasons)}))
    end
  end

  @spec unknown(term, map, String.t()) :: no_return
  defp unknown(reason, known, path) do
    list = known |> Map.keys() |> Enum.sort() |> Enum.join(", ")
    Fields.refuse(path, "no reason is named #{Fields.short(reason)}; there are: #{list}")
  end

  defp reasons, do: DispatchError.reasons() ++ PipeError.reasons()

  # The expression names the output. Where it has no value, its error stands in for the name: that
  # is no output, so the run ends and says why.
  defp chooser(expression) do
    fn item, error ->
      case Expression.eval(expression, item.payload, facts(error)) do
        {:ok, output} -> output
        {:error, failure} -> failure.message
      end
    end
  end

  defp facts(error) do
    cause = Map.get(error, :cause)
    python = if is_exception(cause), do: Map.get(cause, :python)

    %{
      "reason" => Atom.to_string(error.reason),
      "message" => Exception.message(error),
      "type" => python && python.type,
      "attempts" => Map.get(error, :attempts, 1)
    }
  end
end
