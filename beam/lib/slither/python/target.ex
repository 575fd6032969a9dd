defmodule Slither.Python.Target do
  @moduledoc false
  # What a call is of, in the words of events, metrics and sentences. Pure; called by whoever knows a
  # call's target, as it stands in the call's frame.

  @typedoc """
  `target` is what is called by one name: `"module.function"`, or the name of a command. Without a target
  all are nil: it is a handler on BEAM.
  """
  @type facts :: %{
          module: String.t() | nil,
          function: String.t() | nil,
          target: String.t() | nil
        }

  @of_module ["function", "item", "each", "apply"]

  @doc """
  A target by one name.

      iex> Slither.Python.Target.name(["item", "score", "predict"])
      "score.predict"
      iex> Slither.Python.Target.name(["command", "resize"])
      "resize"

  A function that a program has sent by value has a number behind its name, which is left out; and calls
  of a session are of whichever function each of them names.

      iex> Slither.Python.Target.name(["apply", "__main__", "<lambda>@7"])
      "__main__.<lambda>"
      iex> Slither.Python.Target.name(["apply", "slither._worker.named", "call"])
      "several functions"
  """
  @spec name([term]) :: String.t()
  def name(["apply", "slither._worker.named", "call"]), do: "several functions"
  def name([kind, module, name]) when kind in @of_module, do: "#{module}.#{plain(name)}"
  def name(["command", name]), do: name
  def name(target), do: Enum.join(target, " ")

  @doc """
  A target as the metadata of events.

      iex> Slither.Python.Target.facts(["apply", "math", "sqrt"])
      %{module: "math", function: "sqrt", target: "math.sqrt"}
      iex> Slither.Python.Target.facts(nil)
      %{module: nil, function: nil, target: nil}
  """
  @spec facts([term] | nil) :: facts
  def facts(nil), do: %{module: nil, function: nil, target: nil}

  def facts([kind, module, function] = target) when kind in @of_module,
    do: %{module: module, function: plain(function), target: name(target)}

  def facts(target), do: %{module: nil, function: nil, target: name(target)}

  # No name of Python's has such a sign in it.
  defp plain(name), do: name |> to_string() |> String.split("@") |> hd()
end
