defmodule Slither.Telemetry.Failures do
  @moduledoc false
  # What failed lately, in groups of the same failure: by where it failed, its reason, the class of the
  # exception and the line that raised it. A table in ETS with a limit to its groups, of which each
  # keeps one example. `Slither.Telemetry.Events` writes it where items are settled, in the process
  # that settles them, and `Slither.Watch` reads it.

  alias Slither.{DispatchError, Error, PipeError}

  @table __MODULE__
  @most 200
  # Counts are by so many ms, and are kept for so many.
  @step 5_000
  @keep 900_000
  # ms for which a group keeps its example.
  @fresh 1_000
  @longest_message 1_000
  @longest_traceback 8_192

  @typedoc "Where: the pipe, nil for none, and its stage or else what was called."
  @type place :: {pipe :: term, stage :: term}
  @type group :: %{
          pipe: term,
          stage: term,
          reason: atom,
          exception: String.t() | nil,
          frame: String.t() | nil,
          count: pos_integer,
          first: integer,
          last: integer,
          message: String.t(),
          traceback: String.t() | nil,
          replay: String.t() | nil,
          steps: %{optional(integer) => pos_integer}
        }

  @doc "Makes the table; the application calls it before anything can fail."
  @spec start_table() :: :ok
  def start_table do
    :ets.new(@table, [:named_table, :public, :ordered_set, write_concurrency: true])
    :ok
  end

  @doc "ms of one step of a group's counts, which are by the number of the step."
  @spec step() :: pos_integer
  def step, do: @step

  @doc "An item failed for good."
  @spec note(place, Exception.t() | term) :: :ok
  def note(place, error) do
    error = cause(error)
    put({place, key(error)}, error, System.monotonic_time(:millisecond))
  rescue
    # The application has ended, and its tables with it.
    ArgumentError -> :ok
  end

  defp put(group, error, now) do
    case :ets.lookup(@table, {:group, group}) do
      [{id, _last, _first, at, _example}] when now - at < @fresh ->
        :ets.update_element(@table, id, {2, now})

      [{id, _last, _first, _at, _example}] ->
        :ets.update_element(@table, id, [{2, now}, {4, now}, {5, example(error)}])

      [] ->
        make_room()
        :ets.insert(@table, {{:group, group}, now, now, now, example(error)})
    end

    step = {:step, group, div(now, @step)}
    :ets.update_counter(@table, step, {2, 1}, {step, 0})
    :ok
  end

  # The group that was last heard of before all others makes room for a new one.
  defp make_room do
    forget_old()

    case rows() do
      rows when length(rows) < @most ->
        :ok

      rows ->
        {{:group, group}, _last, _first, _at, _example} = Enum.min_by(rows, &elem(&1, 1))
        forget(group)
    end
  end

  defp forget(group) do
    :ets.delete(@table, {:group, group})
    :ets.match_delete(@table, {{:step, group, :_}, :_})
  end

  @doc "Forgets what failed a quarter of an hour ago; who samples calls it now and then."
  @spec forget_old() :: :ok
  def forget_old do
    oldest = System.monotonic_time(:millisecond) - @keep
    for {{:group, group}, last, _first, _at, _example} <- rows(), last < oldest, do: forget(group)
    old = {{{:step, :_, :"$1"}, :_}, [{:<, :"$1", div(oldest, @step)}], [true]}
    :ets.select_delete(@table, [old])
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "The groups of the last quarter of an hour, those that failed last first."
  @spec all() :: [group]
  def all do
    now = System.monotonic_time(:millisecond)
    steps = :ets.match(@table, {{:step, :"$1", :"$2"}, :"$3"})
    steps = Enum.group_by(steps, &hd/1, fn [_group, step, count] -> {step, count} end)
    rows = for row <- rows(), now - elem(row, 1) <= @keep, do: row
    for row <- Enum.sort_by(rows, &elem(&1, 1), :desc), do: group(row, steps)
  rescue
    ArgumentError -> []
  end

  defp rows, do: :ets.match_object(@table, {{:group, :_}, :_, :_, :_, :_})

  defp group({{:group, group}, last, first, _at, example}, steps) do
    {{pipe, stage}, {reason, exception, frame}} = group
    steps = Map.new(Map.get(steps, group, []))
    facts = %{pipe: pipe, stage: stage, reason: reason, exception: exception, frame: frame}
    counted = %{count: Enum.sum(Map.values(steps)), first: first, last: last, steps: steps}
    facts |> Map.merge(counted) |> Map.merge(example)
  end

  ## What an error tells

  defp cause(%DispatchError{cause: cause}) when is_exception(cause), do: cause(cause)
  defp cause(%PipeError{cause: cause}) when is_exception(cause), do: cause(cause)
  defp cause(error), do: error

  defp key(%Error{reason: reason, python: %{type: type, traceback: traceback}}),
    do: {reason, copy(type), frame(traceback)}

  defp key(%module{reason: reason} = error) when is_atom(reason),
    do:
      {reason, if(module in [Error, DispatchError, PipeError], do: nil, else: class(error)), nil}

  defp key(error) when is_exception(error), do: {:handler_raised, class(error), nil}
  defp key(_other), do: {:handler_error, nil, nil}

  defp class(%module{}), do: inspect(module)

  @doc """
  The line of a Python traceback that raised, `nil` where it has none.

      iex> Slither.Telemetry.Failures.frame(\"""
      ...> Traceback (most recent call last):
      ...>   File "/srv/app/score.py", line 12, in predict
      ...>     return model(rows)
      ...>   File "/srv/app/model.py", line 40, in check
      ...>     raise ValueError("no rows")
      ...> ValueError: no rows
      ...> \""")
      "model.py:40 in check"
  """
  @spec frame(String.t() | nil) :: String.t() | nil
  def frame(nil), do: nil

  # Each failed item comes by here: no regular expression, and no look at more than its last line.
  def frame(traceback) do
    with [_ | _] = places <- :binary.matches(traceback, "\n  File \""),
         {at, length} = List.last(places),
         from = at + length,
         rest = binary_part(traceback, from, byte_size(traceback) - from),
         [path, rest] <- :binary.split(rest, "\", line "),
         [number, rest] <- :binary.split(rest, ", in "),
         [name | _] <- :binary.split(rest, "\n") do
      file = path |> :binary.split("/", [:global]) |> List.last()
      "#{file}:#{number} in #{name}"
    else
      _none -> nil
    end
  end

  defp example(error) do
    %{
      message: error |> message() |> cut(@longest_message),
      traceback: error |> traceback() |> cut(@longest_traceback),
      replay: replay(error)
    }
  end

  defp message(%Error{python: %{message: message}}), do: message
  defp message(%{message: message}) when is_binary(message), do: message
  defp message(error) when is_exception(error), do: Exception.message(error)
  defp message(other), do: inspect(other, limit: 20)

  defp traceback(%Error{python: %{traceback: traceback}}), do: traceback
  defp traceback(%Error{details: %{stack: stack}}) when is_binary(stack), do: stack
  defp traceback(_error), do: nil

  defp replay(%Error{details: %{capture: path}}) when is_binary(path),
    do: "python -m slither.replay #{quoted(path)}"

  defp replay(_error), do: nil

  defp quoted(path) do
    if path =~ ~r{^[A-Za-z0-9_./-]+$},
      do: path,
      else: "'" <> String.replace(path, "'", ~S('\'')) <> "'"
  end

  # The end of a traceback says more than its beginning. What is kept is a copy: else it would keep the
  # frame that it came in.
  defp cut(nil, _most), do: nil

  defp cut(text, most) when byte_size(text) > most do
    part = binary_part(text, byte_size(text) - most, most)
    "…" <> for <<char::utf8 <- skip(part)>>, into: "", do: <<char::utf8>>
  end

  defp cut(text, _most), do: copy(text)

  # The first bytes may be the rest of a letter.
  defp skip(<<byte, rest::binary>>) when byte in 0x80..0xBF, do: skip(rest)
  defp skip(text), do: text

  defp copy(nil), do: nil
  defp copy(text), do: :binary.copy(text)
end
