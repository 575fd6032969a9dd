defmodule Slither.Expression.Text do
  @moduledoc false
  # Shows expressions as Python writes them, for errors; of data that is no expression, the data.

  alias Slither.Expression.Strings

  @longest 200
  @longest_text 60

  @infix ~w(== != < <= > >= + - * / // % and or)
  @operators ["not", "neg" | @infix]

  @doc "An expression in readable form, of at most some 200 characters."
  @spec render(term) :: String.t()
  def render(data), do: shorten(text(data), @longest)

  @doc "A value as Python would show it, cut short."
  @spec show(term) :: String.t()
  def show(nil), do: "None"
  def show(true), do: "True"
  def show(false), do: "False"
  def show(value) when is_binary(value), do: quoted(value)
  def show(value) when is_number(value), do: to_string(value)
  def show(value), do: value |> inspect(limit: 5, printable_limit: 40) |> shorten(@longest_text)

  defp text([name]) when name in ["item", "error"], do: name
  defp text(["get", of, key]), do: "#{part(of)}[#{text(key)}]"
  defp text(["get", of, key, default]), do: "#{part(of)}.get(#{text(key)}, #{text(default)})"
  defp text(["and" | all]), do: Enum.map_join(all, " & ", &part/1)
  defp text(["or" | all]), do: Enum.map_join(all, " | ", &part/1)
  defp text(["not", a]), do: "~#{part(a)}"
  defp text(["neg", a]), do: "-#{part(a)}"
  defp text(["in", [_ | _] = x, container]), do: "#{part(x)}.is_in(#{text(container)})"
  defp text(["in", x, container]), do: "#{part(container)}.contains(#{text(x)})"
  defp text(["list", all]) when is_list(all), do: "[#{Enum.map_join(all, ", ", &text/1)}]"

  defp text(["dict", pairs]) when is_list(pairs) do
    "{" <> Enum.map_join(pairs, ", ", fn [k, v] -> "#{text(k)}: #{text(v)}" end) <> "}"
  end

  defp text(["when", cases, otherwise]) when is_list(cases) do
    cases = Enum.map_join(cases, ".", fn [c, v] -> "when(#{text(c)}).then(#{text(v)})" end)
    "#{cases}.otherwise(#{text(otherwise)})"
  end

  defp text([call, reason]) when call in ["skip", "fail"], do: "#{call}(#{text(reason)})"
  defp text([op, a, b]) when op in @infix, do: "#{part(a)} #{op} #{part(b)}"

  defp text([op, a | more]) when is_binary(op),
    do: "#{part(a)}.#{op}(#{Enum.map_join(more, ", ", &text/1)})"

  defp text(other), do: show(other)

  defp part([op | _] = data) when op in @operators, do: "(#{text(data)})"
  defp part(data) when is_number(data) and data < 0, do: "(#{text(data)})"
  defp part(data), do: text(data)

  defp quoted(value) do
    if String.valid?(value),
      do: ~s("#{value |> shorten(@longest_text) |> escape()}"),
      else: inspect(value, limit: 20)
  end

  defp escape(text) do
    for <<c::utf8 <- text>>, into: "" do
      cond do
        c in [?", ?\\] -> <<?\\, c>>
        c < 0x20 or c == 0x7F -> "\\x" <> String.downcase(Base.encode16(<<c>>))
        true -> <<c::utf8>>
      end
    end
  end

  defp shorten(text, most) do
    if byte_size(text) > most and Strings.length(text) > most,
      do: Strings.first(text, most - 1) <> "…",
      else: text
  end
end
