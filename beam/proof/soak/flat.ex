defmodule Slither.Proof.Soak.Flat do
  @moduledoc false
  # Whether measures stay flat. Pure: from samples `{ms since the start, measures}`.
  #
  # After a minute of warming up, the median of the first third of what follows is compared with
  # that of the last third (in ten minutes: of minutes two to four with the last three, of which
  # no more than two minutes count). What comes may go up by so much, and the line through all
  # samples is shown besides.

  @warm 60_000
  @longest 120_000
  @mb 1_048_576

  @type row :: %{
          name: String.t(),
          early: number,
          late: number,
          slope: float,
          allowed: number,
          flat?: boolean
        }

  @doc "A row for each measure; `[]` where there are too few samples to tell."
  @spec rows([{non_neg_integer, map}]) :: [row]
  def rows(samples) do
    ends = samples |> Enum.map(&elem(&1, 0)) |> Enum.max(fn -> 0 end)
    warm = min(@warm, div(ends, 5))
    third = div(ends - warm, 3)
    early = within(samples, warm, warm + third)
    late = within(samples, ends - min(third, @longest), ends)
    names = for {_at, measures} <- late, name <- Map.keys(measures), uniq: true, do: name

    for name <- Enum.sort(names), before = values(early, name), before != [] do
      row(name, before, values(late, name), slope(within(samples, warm, ends), name))
    end
  end

  defp row(name, before, later, slope) do
    early = Slither.Proof.median(before)
    late = Slither.Proof.median(later)
    allowed = early + more(kind(name), early)

    %{
      name: name,
      early: early,
      late: late,
      slope: slope,
      allowed: allowed,
      flat?: late <= allowed
    }
  end

  @doc "How much more than at first a measure of some kind may be."
  @spec more(:memory | :rss | :processes | :count, number) :: number
  def more(:memory, early), do: early / 10 + 4 * @mb
  def more(:rss, early), do: early / 10 + 8 * @mb
  def more(:processes, early), do: early / 10 + 20
  def more(:count, _early), do: 20

  @doc "Whether a measure is of bytes, and which; what is counted may not grow with what there is."
  @spec kind(String.t()) :: :memory | :rss | :processes | :count
  def kind("memory " <> _), do: :memory
  def kind("processes"), do: :processes
  def kind(name), do: if(String.ends_with?(name, "rss"), do: :rss, else: :count)

  defp within(samples, from, to),
    do: Enum.filter(samples, fn {at, _} -> at >= from and at <= to end)

  defp values(samples, name), do: for({_at, %{^name => value}} <- samples, do: value)

  # The line of least squares, in units a minute.
  defp slope(samples, name) do
    points = for {at, %{^name => value}} <- samples, do: {at / 60_000, value}
    count = length(points)
    {x, y} = Enum.reduce(points, {0, 0}, fn {a, b}, {x, y} -> {x + a / count, y + b / count} end)

    {up, down} =
      Enum.reduce(points, {0, 0}, fn {a, b}, {up, down} ->
        {up + (a - x) * (b - y), down + (a - x) * (a - x)}
      end)

    if down == 0, do: 0.0, else: up / down
  end
end
