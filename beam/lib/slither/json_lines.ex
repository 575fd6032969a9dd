defmodule Slither.JsonLines do
  @moduledoc """
  Logger's events as lines of JSON: what BEAM logs, and what Python's handlers print and log.

  With Elixir 1.15 and later:

      config :logger, :default_formatter, format: {Slither.JsonLines, :format}, metadata: :all

  and before:

      config :logger, :console, format: {Slither.JsonLines, :format}, metadata: :all

  Each line is an object. It has

    * `time` (ISO 8601, UTC), `level` and `message`;
    * `logger`, which is a Python logger's name, or `stdout` or `stderr` for what was printed there;
      only what comes from Python has one;
    * `file`, `line` and `function`: where a record was made, in Python or on BEAM;
    * `process` and `thread`, Python's, and of what BEAM logs `pid`, which is its process;
    * all other metadata by its names: `pool`, `worker` and `os_pid`, and `call`, `batch`, `run`, `pipe`,
      `stage`, `session`, `trace_id` and `span_id` of the call in which Python spoke, where they are known;
    * what a Python program has added to its record with `extra=`, and `exception` and `stack`, which are
      then no part of `message`.

  What JSON does not know is shown as `inspect/1` does.

      iex> Slither.JsonLines.format(:info, "ready", {{2030, 1, 2}, {3, 4, 5, 6}}, pool: :gpu, worker: 1)
      ...> |> IO.iodata_to_binary()
      ~S({"time":"2030-01-02T03:04:05.006","level":"info","message":"ready","pool":"gpu","worker":1}) <> "\\n"
  """

  alias Slither.Json

  # What is of no use, or stands elsewhere in the line.
  @left_out ~w(time gl erl_level error_logger python_record python_logger python_bar python_pid mfa module
               function file line pid domain report_cb)a

  @doc "A line; Logger calls it in the process that writes."
  @spec format(atom, IO.chardata(), term, keyword) :: iodata
  def format(level, message, timestamp, metadata) do
    record = metadata[:python_record] || %{}
    metadata = if printed?(metadata), do: Keyword.drop(metadata, [:file, :line]), else: metadata
    text = text(message)

    pairs =
      [
        time: time(metadata[:time], timestamp),
        level: level,
        logger: metadata[:python_logger],
        message: message(text, record),
        file: file(metadata[:file]),
        line: metadata[:line],
        function: function(metadata),
        process: metadata[:python_pid],
        thread: record["threadName"],
        task: record["taskName"],
        pid: if(not Keyword.has_key?(metadata, :python_logger), do: metadata[:pid])
      ] ++
        others(metadata, record) ++ [exception: record["exc_text"], stack: record["stack_info"]]

    [?{, pairs |> Enum.reject(&match?({_name, nil}, &1)) |> members(), "}\n"]
  end

  # Logger names the line on BEAM that has it logged.
  defp printed?(metadata),
    do: Keyword.has_key?(metadata, :python_logger) and metadata[:python_record] == nil

  defp members(pairs) do
    pairs
    |> Enum.uniq_by(fn {name, _value} -> to_string(name) end)
    |> Enum.map(fn {name, value} -> [Json.encode(to_string(name)), ?:, Json.encode(value)] end)
    |> Enum.intersperse(?,)
  end

  defp others(metadata, record) do
    added = for {name, value} <- record["extra"] || %{}, do: {name, value}
    for({name, value} <- metadata, name not in @left_out, do: {name, value}) ++ Enum.sort(added)
  end

  defp text(message) do
    case :unicode.characters_to_binary(message) do
      text when is_binary(text) -> text
      _invalid -> inspect(message)
    end
  rescue
    ArgumentError -> inspect(message)
  end

  # Below the message of a record stand its exception and its stack.
  defp message(text, record) do
    Enum.reduce(["stack_info", "exc_text"], text, fn name, text ->
      if record[name], do: String.replace_suffix(text, "\n" <> record[name], ""), else: text
    end)
  end

  defp time(micros, _timestamp) when is_integer(micros),
    do: micros |> DateTime.from_unix!(:microsecond) |> DateTime.to_iso8601()

  defp time(_none, {{year, month, day}, {hour, minute, second, ms}}) do
    {:ok, time} = NaiveDateTime.new(year, month, day, hour, minute, second, {ms * 1_000, 3})
    NaiveDateTime.to_iso8601(time)
  end

  defp time(_none, _other), do: nil

  defp file(nil), do: nil
  defp file(file), do: text(file)

  # Python's record has a function's name there, and BEAM's an `mfa`.
  defp function(metadata) do
    case metadata[:mfa] do
      {module, name, arity} ->
        if Keyword.has_key?(metadata, :python_logger),
          do: python_function(metadata),
          else: Exception.format_mfa(module, name, arity)

      _none ->
        python_function(metadata)
    end
  end

  defp python_function(metadata) do
    name = metadata[:function]
    if is_binary(name), do: name
  end
end
