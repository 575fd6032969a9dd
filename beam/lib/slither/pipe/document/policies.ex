defmodule Slither.Pipe.Document.Policies do
  @moduledoc false
  # Reads the error policies of documents, and of a driver's maps, as those of the DSL, in the
  # process that parses them.

  alias Slither.{DispatchError, Expression, PipeError}
  alias Slither.Run.Policy
  alias Slither.Pipe.Document.Part

  @doc "The policy that a part of a document is."
  @spec policy(Part.t()) :: term
  def policy(%{value: "halt"}), do: :halt
  def policy(%{value: "skip"}), do: :skip

  def policy(%{value: %{"route" => route}} = part) do
    part = part |> Part.map(["route"]) |> Part.get("route")

    if is_binary(route),
      do: {:route, Part.name(part)},
      else: {:route, chooser(Part.expression(part, [:error]))}
  end

  def policy(%{value: %{"retry" => _}} = part) do
    part = part |> Part.map(["retry"]) |> Part.get("retry")
    Part.map(part, ~w(max_attempts base_ms max_ms jitter on then))
    policy = {:retry, for(name <- Enum.sort(Map.keys(part.value)), do: option(name, part))}

    case Policy.new(policy) do
      {:ok, _policy} -> policy
      {:error, error} -> Part.refuse(part, error.message)
    end
  end

  def policy(part) do
    Part.refuse(
      part,
      ~s(takes "halt", "skip", {"route": output or expression} or {"retry": {…}}, got ) <>
        Part.short(part)
    )
  end

  defp option("max_attempts", part), do: {:max_attempts, part.value["max_attempts"]}
  defp option("base_ms", part), do: {:base_ms, part.value["base_ms"]}
  defp option("max_ms", part), do: {:max_ms, part.value["max_ms"]}
  defp option("jitter", part), do: {:jitter, part.value["jitter"]}
  defp option("then", part), do: {:then, policy(Part.get(part, "then"))}
  defp option("on", part), do: {:on, on(Part.get(part, "on"))}

  defp on(%{value: "any"}), do: :any

  defp on(%{value: reasons} = part) when is_list(reasons) do
    if List.improper?(reasons), do: no_reasons(part)
    known = Map.new(reasons(), &{Atom.to_string(&1), &1})
    for reason <- reasons, do: Map.get(known, reason) || unknown(reason, known, part)
  end

  defp on(part), do: no_reasons(part)

  @spec no_reasons(Part.t()) :: no_return
  defp no_reasons(part),
    do: Part.refuse(part, ~s(takes "any" or a list of reasons, got #{Part.short(part)}))

  @spec unknown(term, map, Part.t()) :: no_return
  defp unknown(reason, known, part) do
    list = known |> Map.keys() |> Enum.sort() |> Enum.join(", ")
    Part.refuse(part, "no reason is named #{Part.short(reason)}; there are: #{list}")
  end

  defp reasons, do: DispatchError.reasons() ++ PipeError.reasons()

  # The value of the expression is the name of the output. If it has no value, its error message
  # takes the place of the name. No output has such a name, so the run ends and says why.
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
