defmodule Slither.Protocol.Facts do
  @moduledoc false
  # Where a log record of Python was made, by the names that its `logging` has for that. Called where
  # log frames are checked, and where their records are logged or sent on. Pure.

  @texts ~w(levelname pathname funcName exc_text stack_info processName threadName taskName)
  @counts ~w(levelno lineno process thread)

  @doc "Whether what a log frame tells of a record has the types that it should."
  @spec valid?(map) :: boolean
  def valid?(facts),
    do: Enum.all?(facts, fn {name, fact} -> is_binary(name) and fact?(name, fact) end)

  defp fact?(name, fact) when name in @texts, do: is_binary(fact)
  defp fact?(name, fact) when name in @counts, do: is_integer(fact) and fact >= 0
  defp fact?("created", fact), do: is_float(fact)

  defp fact?("extra", fact),
    do:
      is_map(fact) and not is_struct(fact) and Enum.all?(fact, fn {key, _} -> is_binary(key) end)

  # For another version to know.
  defp fact?(_name, _fact), do: true

  @doc """
  What stands below a record's message where it is shown: its exception and its stack.

      iex> Slither.Protocol.Facts.below(%{"exc_text" => "KeyError: 1", "lineno" => 7})
      "\\nKeyError: 1"

      iex> Slither.Protocol.Facts.below(nil)
      ""
  """
  @spec below(map | nil) :: String.t()
  def below(nil), do: ""

  def below(facts) do
    for name <- ["exc_text", "stack_info"], text = facts[name], into: "", do: "\n" <> text
  end

  @doc "The metadata of Logger's that says where a record was made."
  @spec metadata(map | nil) :: keyword
  def metadata(nil), do: []

  def metadata(facts) do
    found = [
      file: facts["pathname"] && String.to_charlist(facts["pathname"]),
      line: facts["lineno"],
      function: facts["funcName"],
      python_pid: facts["process"],
      python_record: facts
    ]

    Enum.reject(found, &match?({_name, nil}, &1))
  end
end
