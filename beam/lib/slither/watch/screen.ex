defmodule Slither.Watch.Screen do
  @moduledoc false
  # A snapshot as the lines of a terminal, for `slither top` and `mix slither.top`. Pure; called by
  # `Slither.Watch.Attach.Listener`, in the VM that is looked at, so that there is one of it.
  #
  # What comes from programs is shown without characters that a terminal would obey.

  alias Slither.Watch.Words

  @marks %{
    "failing" => "✖",
    "waiting" => "▲",
    "flowing" => "▶",
    "working" => "●",
    "idle" => "○"
  }
  @colours %{
    "failing" => "31",
    "waiting" => "33",
    "flowing" => "32",
    "working" => "32",
    "idle" => "37"
  }
  @bars {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}
  # In which a line of figures is drawn.
  @letters 15
  # Rows of one part that are shown before the other parts have theirs.
  @few 4

  @typedoc "How it may look: so many columns and rows, with colours or without."
  @type size :: {columns :: pos_integer, rows :: pos_integer, colours :: boolean}

  @doc "The lines, at most as many as there are rows, none longer than there are columns."
  @spec lines(map, size) :: [String.t()]
  def lines(snapshot, {columns, rows, colours?}) do
    [title | verdict] = [title(snapshot, columns) | verdict(snapshot)]
    head = [{:dim, title} | Enum.take(verdict, max(rows - 1, 1))]
    parts = Enum.reject(parts(snapshot, columns), fn {_head, rows} -> rows == [] end)

    (head ++ fitted(parts, rows - length(head)))
    |> Enum.take(rows)
    |> Enum.map(fn {style, text} -> text |> clean() |> cut(columns) |> styled(style, colours?) end)
  end

  @doc "A snapshot in one line, for where there is no terminal."
  @spec line(map) :: String.t()
  def line(snapshot) do
    %{totals: totals, verdict: verdict} = snapshot
    queue = snapshot.pools |> Enum.map(& &1.queue) |> Enum.sum()

    figures =
      [
        Words.rate(totals.rate),
        "#{totals.busy} of #{Words.count(totals.workers, "worker")} busy"
      ] ++
        ["#{Words.count(queue, "call")} in line", "#{Words.share(totals.failed_share)} failed"]

    clean("#{clock(snapshot.at)} #{verdict.text} [#{Enum.join(figures, ", ")}]")
  end

  defp clock(at) do
    {_date, {hour, minute, second}} =
      at |> div(1_000) |> :calendar.system_time_to_local_time(:second)

    Enum.map_join([hour, minute, second], ":", &String.pad_leading("#{&1}", 2, "0"))
  end

  ## The head

  defp title(snapshot, columns) do
    pid = snapshot.program_pid || snapshot.os_pid
    left = "slither top - #{snapshot.name} (process #{pid}), up #{Words.time(snapshot.uptime)}"
    right = clock(snapshot.at)
    left <> String.duplicate(" ", max(columns - width(left) - width(right), 1)) <> right
  end

  defp verdict(%{verdict: verdict}) do
    [_first | others] = verdict.evidence
    told = {{:verdict, verdict.state}, "#{@marks[verdict.state]} #{verdict.text}"}
    more = for %{text: text} <- Enum.take(others, 3), do: {:plain, "  and #{text}"}
    [told | more]
  end

  ## The parts

  defp parts(snapshot, columns) do
    [
      {"", pipes(snapshot, columns)},
      {"POOLS", table(pools(snapshot), columns)},
      {"WORKERS", table(workers(snapshot), columns)},
      {"FAILING", table(failures(snapshot), columns)},
      {"STATE", state(snapshot)},
      {"EVENTS", events(snapshot)}
    ]
  end

  defp pipes(snapshot, columns) do
    flows = for pipe <- snapshot.pipes, do: {pipe_head(pipe), pipe.stages}
    plain = if snapshot.stages == [], do: [], else: [{"CALLS", snapshot.stages}]

    for {head, stages} <- flows ++ plain,
        row <- [{:head, head} | table([stage_head() | Enum.map(stages, &stage/1)], columns)],
        do: row
  end

  defp pipe_head(pipe) do
    facts =
      [
        pipe.state,
        pipe.runs > 1 && "#{pipe.runs} runs",
        "#{Words.rate(pipe.in_rate)} in"
      ] ++
        ["#{Words.number(pipe.out_rate)} out"] ++
        [pipe.delivering > 0 && "#{pipe.delivering} with sinks"] ++
        [pipe.blocked > 0 && "#{Words.count(pipe.blocked, "caller")} waiting to push"]

    "PIPE #{pipe.name}: " <> (facts |> Enum.filter(& &1) |> Enum.join(", "))
  end

  defp stage_head,
    do: ["  stage", "items/s", "5 minutes", "inside", "bound", "p50", "p95", "failed", "mostly"]

  defp stage(stage) do
    inside = stage.waiting + stage.queued + stage.running + stage.retrying
    mark = if stage.narrowest, do: "> ", else: "  "

    [
      mark <> stage.name,
      Words.number(stage.rate),
      spark(stage.spark),
      Words.number(inside),
      (stage.bound && bar(stage.queued + stage.running + stage.retrying, stage.bound)) || "",
      time(stage.p50),
      time(stage.p95),
      if(stage.failed_share > 0, do: Words.share(stage.failed_share), else: "-"),
      mostly(stage.shares)
    ]
  end

  defp mostly(nil), do: ""

  defp mostly(shares) do
    {phase, share} = Enum.max_by(shares, &elem(&1, 1))
    "#{phase} #{Words.share(share)}"
  end

  defp pools(%{pools: []}), do: []

  defp pools(snapshot) do
    rows =
      for pool <- snapshot.pools do
        queue = if pool.max_queue, do: "#{pool.queue} of #{pool.max_queue}", else: "#{pool.queue}"

        [
          "  #{pool.name}",
          "#{pool.ready} of #{pool.size}#{range(pool)}",
          "#{pool.busy}",
          if(pool.busy_share, do: Words.share(pool.busy_share), else: ""),
          queue,
          time(pool.oldest_wait),
          time(pool.since_free),
          "#{pool.died}",
          if(pool.error, do: Words.line(pool.error), else: "")
        ]
      end

    [
      ["  pool", "ready", "busy", "share", "in line", "oldest", "none free for", "died", ""]
      | rows
    ]
  end

  # Of a pool that grows and shrinks by itself.
  defp range(%{range: [least, most]}) when least < most, do: " (#{least} to #{most})"
  defp range(_pool), do: ""

  defp workers(snapshot) do
    rows =
      for pool <- snapshot.pools, worker <- pool.workers do
        runs = worker.runs

        [
          "  #{pool.name} #{worker.worker}",
          "#{worker.os_pid}",
          if(runs, do: "runs", else: worker.status),
          if(runs, do: of(runs), else: ""),
          if(runs, do: since(runs), else: ""),
          if(worker.rss, do: Words.bytes(worker.rss), else: ""),
          "#{worker.served}",
          said(worker.said)
        ]
      end

    # Those that are at something first, the longest first.
    longest =
      for pool <- snapshot.pools, worker <- pool.workers, do: -(worker.runs || %{since: -1}).since

    rows = longest |> Enum.zip(rows) |> Enum.sort_by(&elem(&1, 0)) |> Enum.map(&elem(&1, 1))

    if rows == [],
      do: [],
      else: [["  worker", "pid", "", "call", "since", "memory", "served", "says"] | rows]
  end

  defp of(%{pipe: nil} = runs), do: items(runs.call, runs)
  defp of(runs), do: items("#{runs.pipe}.#{runs.stage} #{runs.call}", runs)
  defp items(call, %{items: items}) when is_integer(items) and items > 1, do: "#{call} (#{items})"
  defp items(call, _runs), do: call

  defp since(%{deadline: nil} = runs), do: time(runs.since)
  defp since(runs), do: "#{time(runs.since)} of #{time(runs.since + runs.deadline)}"

  defp said([]), do: ""
  defp said(said), do: List.last(said).text |> Words.line()

  defp failures(%{failures: []}), do: []

  defp failures(snapshot) do
    rows =
      for failure <- snapshot.failures do
        [
          "  #{failure.place}",
          failure.exception || failure.reason,
          failure.frame || "",
          Words.count(failure.count, "time"),
          Words.ago(failure.last),
          Words.line(failure.message)
        ]
      end

    [["  where", "what", "line", "", "last", ""] | rows]
  end

  defp state(snapshot) do
    for store <- snapshot.stores do
      tables = Enum.map_join(store.tables, ", ", &"#{&1.name} #{rows(&1.rows)}")
      {:plain, "  store #{store.store}: #{tables}; #{Words.number(store.writes_rate)} writes/s"}
    end
  end

  defp rows(nil), do: "?"
  defp rows(count), do: Words.count(count, "row")

  defp events(snapshot) do
    for event <- Enum.take(snapshot.events, 20),
        do: {:plain, "  #{Words.ago(max(snapshot.at - event.at, 0))}: #{event.text}"}
  end

  ## Rows that fit

  # Each part has a few rows, and then those that are left, from above.
  defp fitted(parts, rows) do
    wanted = for {head, rows} <- parts, do: length(rows) + if(head == "", do: 0, else: 1)
    given = share(wanted, max(rows - length(parts), 0))

    for {{head, rows}, given} <- Enum.zip(parts, given),
        given > 0,
        line <- [{:plain, ""} | part(head, rows, given)],
        do: line
  end

  defp part("", rows, given), do: less(rows, given)
  defp part(head, rows, given), do: [{:head, head} | less(rows, given - 1)]

  defp less(rows, given) when length(rows) <= given, do: rows
  defp less(_rows, given) when given < 1, do: []

  defp less(rows, given),
    do: Enum.take(rows, given - 1) ++ [{:dim, "  and #{length(rows) - given + 1} more"}]

  defp share(wanted, rows) do
    few = Enum.map(wanted, &min(&1, @few))

    {given, _left} =
      Enum.map_reduce(Enum.zip(wanted, few), rows - Enum.sum(few), fn {want, few}, left ->
        more = min(want - few, max(left, 0))
        {few + more, left - more}
      end)

    # On a small screen, those below are left out.
    {given, _left} =
      Enum.map_reduce(given, rows, fn give, left -> {min(give, max(left, 0)), left - give} end)

    given
  end

  ## Tables

  # Columns are as wide as their widest cell; the last one has what is left.
  defp table([], _columns), do: []

  defp table([head | _] = rows, columns) do
    rows = Enum.map(rows, fn row -> Enum.map(row, &clean(to_string(&1))) end)
    widest = max(div(columns, 3), 12)

    widths =
      for at <- 0..(length(head) - 1),
          do: rows |> Enum.map(&width(Enum.at(&1, at))) |> Enum.max() |> min(widest)

    [head | rows] = for row <- rows, do: row |> Enum.zip(widths) |> cells()
    [{:dim, head} | Enum.map(rows, &{:plain, &1})]
  end

  defp cells(row) do
    {last, _width} = List.last(row)
    cells = for {cell, width} <- Enum.drop(row, -1), do: cell |> cut(width) |> pad(width)
    (cells ++ [last]) |> Enum.join("  ") |> String.trim_trailing()
  end

  defp pad(text, width), do: text <> String.duplicate(" ", max(width - width(text), 0))

  ## Small pictures

  @doc """
  A line of figures in a few letters, newest at the right.

      iex> Slither.Watch.Screen.spark([0, 0, 1, 2, 4, 8, 6])
      "  ▁▂▄█▆"
  """
  @spec spark([number]) :: String.t()
  def spark(figures) do
    figures =
      figures
      |> Enum.chunk_every(max(div(length(figures), @letters), 1))
      |> Enum.map(&(Enum.sum(&1) / length(&1)))

    most = Enum.max(figures, fn -> 0 end)
    Enum.map_join(figures, &elem(@bars, height(&1, most)))
  end

  defp height(figure, _most) when figure == 0, do: 0
  defp height(figure, most), do: max(round(8 * figure / most), 1)

  @doc """
  How full something is.

      iex> {Slither.Watch.Screen.bar(3, 8), Slither.Watch.Screen.bar(9, 8)}
      {"██··· 3 of 8", "█████ 9 of 8"}
  """
  @spec bar(non_neg_integer, pos_integer) :: String.t()
  def bar(count, bound) do
    full = min(ceil(5 * count / max(bound, 1)), 5)
    String.duplicate("█", full) <> String.duplicate("·", 5 - full) <> " #{count} of #{bound}"
  end

  defp time(nil), do: "-"
  defp time(ms), do: Words.time(ms)

  ## Text

  @doc """
  Text without what a terminal would obey.

      iex> Slither.Watch.Screen.clean("a\\e[31mb\\tc\\u202Ed")
      "a[31mb cd"
  """
  @spec clean(String.t()) :: String.t()
  def clean(text) do
    text = if String.valid?(text), do: text, else: inspect(text)
    text = String.replace(text, ~r/[\t\n\r]+/, " ")

    String.replace(
      text,
      ~r/[\x{00}-\x{1F}\x{7F}-\x{9F}\x{200B}-\x{200F}\x{2028}-\x{202E}\x{2066}-\x{2069}\x{FEFF}]/u,
      ""
    )
  end

  defp cut(text, columns) do
    if width(text) > columns, do: String.slice(text, 0, max(columns - 1, 0)) <> "…", else: text
  end

  defp width(text), do: String.length(text)

  defp styled(text, _style, false), do: text
  defp styled(text, :plain, true), do: text
  defp styled(text, :head, true), do: "\e[1m#{text}\e[0m"
  defp styled(text, :dim, true), do: "\e[2m#{text}\e[0m"
  defp styled(text, {:verdict, state}, true), do: "\e[1;#{@colours[state]}m#{text}\e[0m"
end
