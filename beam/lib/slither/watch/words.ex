defmodule Slither.Watch.Words do
  @moduledoc false
  # Figures as a person reads them: pure, for the verdict and for what prints a snapshot.

  @mib 1_048_576
  @gib 1_073_741_824

  @doc """
  How many, with three digits at most.

      iex> Enum.map([0, 7, 0.53, 12.44, 980, 12_432, 3_400_000], &Slither.Watch.Words.number/1)
      ["0", "7", "0.53", "12.4", "980", "12.4 k", "3.4 M"]
  """
  @spec number(number) :: String.t()
  def number(n) when n >= 1_000_000, do: digits(n / 1_000_000) <> " M"
  def number(n) when n >= 1_000, do: digits(n / 1_000) <> " k"
  def number(n) when is_integer(n), do: Integer.to_string(n)
  def number(n), do: digits(n)

  @doc """
  How many items in a second.

      iex> Enum.map([1.0, 12.44], &Slither.Watch.Words.rate/1)
      ["1 item/s", "12.4 items/s"]
  """
  @spec rate(number) :: String.t()
  def rate(rate) do
    text = number(rate)
    if text == "1", do: "1 item/s", else: text <> " items/s"
  end

  @doc """
  How long, of ms.

      iex> Enum.map([0, 0.325, 80, 1_240, 42_000, 200_000, 8_000_000], &Slither.Watch.Words.time/1)
      ["0 ms", "0.33 ms", "80 ms", "1.2 s", "42 s", "3 min", "2.2 h"]
  """
  @spec time(number) :: String.t()
  def time(ms) when ms < 10, do: "#{digits(ms)} ms"
  def time(ms) when ms < 1_000, do: "#{round(ms)} ms"
  def time(ms) when ms < 10_000, do: "#{digits(Float.round(ms / 1_000, 1))} s"
  def time(ms) when ms < 120_000, do: "#{trunc(ms / 1_000)} s"
  def time(ms) when ms < 7_200_000, do: "#{trunc(ms / 60_000)} min"
  def time(ms), do: "#{digits(Float.round(ms / 3_600_000, 1))} h"

  @doc """
  How long ago, of ms.

      iex> Enum.map([0, 450, 4_000, 200_000], &Slither.Watch.Words.ago/1)
      ["just now", "just now", "4 s ago", "3 min ago"]
  """
  @spec ago(number) :: String.t()
  def ago(ms) when ms < 1_000, do: "just now"
  def ago(ms), do: time(ms) <> " ago"

  @doc """
  A share of 0 to 1.

      iex> Enum.map([0, 0.0004, 0.031, 0.5, 1.0], &Slither.Watch.Words.share/1)
      ["0 %", "0.04 %", "3.1 %", "50 %", "100 %"]
  """
  @spec share(number) :: String.t()
  def share(share), do: digits(share * 100) <> " %"

  @doc """
  So much memory, in the units of the page.

      iex> Enum.map([512, 48_300_000, 2_100_000_000], &Slither.Watch.Words.bytes/1)
      ["512 B", "46 MiB", "2 GiB"]
  """
  @spec bytes(number) :: String.t()
  def bytes(n) when n >= @gib, do: "#{digits(Float.round(n / @gib, 1))} GiB"
  def bytes(n) when n >= @mib, do: "#{round(n / @mib)} MiB"
  def bytes(n) when n >= 1_024, do: "#{round(n / 1_024)} KiB"
  def bytes(n), do: "#{n} B"

  @doc """
  So many of a thing.

      iex> {Slither.Watch.Words.count(1, "call"), Slither.Watch.Words.count(3, "call")}
      {"1 call", "3 calls"}
  """
  @spec count(non_neg_integer, String.t()) :: String.t()
  def count(1, thing), do: "1 #{thing}"
  def count(n, thing), do: "#{number(n)} #{thing}s"

  @doc """
  A name of a pool, a pipe, a stage or a store, as all that is shown has it.

      iex> Enum.map([:default, "score", MyApp.Scores, {:store, 1}, nil], &Slither.Watch.Words.name/1)
      ["default", "score", "MyApp.Scores", "{:store, 1}", nil]
  """
  @spec name(term) :: String.t() | nil
  def name(nil), do: nil
  def name(name) when is_binary(name), do: String.replace_prefix(name, "Elixir.", "")

  def name(name) when is_atom(name),
    do: name |> Atom.to_string() |> String.replace_prefix("Elixir.", "")

  def name(other), do: inspect(other)

  @doc """
  The first line of a text, cut where it is long.

      iex> Slither.Watch.Words.line("no module named torch\\n  File …")
      "no module named torch"
  """
  @spec line(String.t(), pos_integer) :: String.t()
  def line(text, most \\ 160) do
    line = text |> String.split("\n", parts: 2) |> hd() |> String.trim()
    if String.length(line) > most, do: String.slice(line, 0, most - 1) <> "…", else: line
  end

  defp digits(n) when n == 0, do: "0"
  defp digits(n) when n >= 100, do: n |> round() |> Integer.to_string()

  defp digits(n) do
    places = if n >= 1, do: 1, else: 2
    text = :erlang.float_to_binary(n / 1, decimals: places)
    text |> String.trim_trailing("0") |> String.trim_trailing(".")
  end
end
