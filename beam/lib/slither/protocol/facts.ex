defmodule Slither.Protocol.Facts do
  @moduledoc false
  # Where a log record of Python was made, by the names that its `logging` has for that. Called where
  # log frames are checked, and where their records are logged or sent on. Pure.

  @texts ~w(levelname pathname funcName exc_text stack_info processName threadName taskName)
  @counts ~w(levelno lineno process thread)

  # What of Logger's metadata a driver is told, as it knows which worker spoke, and for whom.
  @told ~w(pool worker os_pid call batch run pipe stage session trace trace_id span_id)a

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

  @doc """
  The metadata that a call's context has beside names: its session, and its trace by the ids of a W3C
  `traceparent`, or as the text that it is.

      iex> trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
      iex> Slither.Protocol.Facts.about(%{"session" => "s1", "trace" => trace})
      [session: "s1", trace_id: "4bf92f3577b34da6a3ce929d0e0e4736", span_id: "00f067aa0ba902b7"]

      iex> Slither.Protocol.Facts.about(%{"session" => nil, "trace" => "order 17"})
      [trace: "order 17"]
  """
  @spec about(map) :: keyword
  def about(context), do: session(context["session"]) ++ trace(context["trace"])

  defp session(nil), do: []
  defp session(session), do: [session: session]

  defp trace(nil), do: []

  defp trace(
         <<_v::16, "-", trace::binary-size(32), "-", span::binary-size(16), "-", _flags::binary>>
       ),
       do: [trace_id: trace, span_id: span]

  defp trace(text), do: [trace: text]

  @doc """
  What a driver is told of an event of Logger's: the facts of its record, and from where it came.
  """
  @spec told(map | nil, map) :: map | nil
  def told(facts, metadata) do
    from = for name <- @told, value <- told(metadata[name]), into: %{}, do: {"#{name}", value}
    if from == %{}, do: facts, else: Map.put(facts || %{}, "beam", from)
  end

  defp told(nil), do: []
  defp told(value) when is_integer(value) or is_binary(value), do: [value]
  defp told(value) when is_atom(value), do: [Atom.to_string(value)]
  defp told(_other), do: []
end
