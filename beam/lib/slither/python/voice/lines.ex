defmodule Slither.Python.Voice.Lines do
  @moduledoc false
  # The last lines that a worker has logged or printed, for whoever asks what it does. Pure; part of
  # `Slither.Python.Voice`, in the process of the worker's owner. Messages are kept as they come, and
  # become lines when somebody asks.

  # The most lines, and the most bytes of them all; a longer message keeps its end.
  @most 20
  @bytes 8_192

  defstruct messages: [], count: 0, bytes: 0

  @typedoc "The last message first."
  @type t :: %__MODULE__{
          messages: [{level :: String.t(), text :: String.t(), bar? :: boolean}],
          count: non_neg_integer,
          bytes: non_neg_integer
        }
  @type line :: %{level: String.t(), text: String.t()}

  @doc "One more message; a state of a progress bar takes the place of the one before it."
  @spec put(t, String.t(), String.t()) :: t
  def put(lines, level, "\r" <> state) do
    case lines do
      %{messages: [{_level, old, true} | rest]} ->
        kept = %{messages: rest, count: lines.count - 1, bytes: lines.bytes - byte_size(old)}
        add(struct!(lines, kept), level, state, true)

      _other ->
        add(lines, level, state, true)
    end
  end

  def put(lines, level, message), do: add(lines, level, message, false)

  # A copy, as the message is a part of the frame that it came in.
  defp add(lines, level, text, bar?) do
    text = text |> ending(@bytes) |> :binary.copy()
    messages = [{level, text, bar?} | lines.messages]
    count = lines.count + 1
    bytes = lines.bytes + byte_size(text)

    # Cut down to what may be told once there is twice that: a line costs one look at the rest then.
    if count > 2 * @most or bytes > 2 * @bytes,
      do: cut(messages),
      else: %{lines | messages: messages, count: count, bytes: bytes}
  end

  defp cut(messages) do
    {kept, count, bytes} =
      Enum.reduce_while(messages, {[], 0, 0}, fn {_level, text, _bar?} = one, {kept, n, bytes} ->
        if n == @most or bytes >= @bytes,
          do: {:halt, {kept, n, bytes}},
          else: {:cont, {[one | kept], n + 1, bytes + byte_size(text)}}
      end)

    %__MODULE__{messages: Enum.reverse(kept), count: count, bytes: bytes}
  end

  @doc """
  The last lines, the oldest first: at most 20, of at most 8 KiB together.

      iex> alias Slither.Python.Voice.Lines
      iex> lines = %Lines{} |> Lines.put("info", "loaded") |> Lines.put("error", "no row\\nat 7")
      iex> Lines.all(lines)
      [
        %{level: "info", text: "loaded"},
        %{level: "error", text: "no row"},
        %{level: "error", text: "at 7"}
      ]
  """
  @spec all(t) :: [line]
  def all(%__MODULE__{messages: messages}), do: last(messages, [], @most, @bytes)

  defp last([{level, text, _bar?} | messages], lines, most, bytes) when most > 0 and bytes > 0 do
    {lines, most, bytes} =
      text
      |> String.split("\n")
      |> Enum.reverse()
      |> Enum.reduce_while({lines, most, bytes}, fn
        _line, {_lines, most, bytes} = full when most == 0 or bytes <= 0 ->
          {:halt, full}

        line, {lines, most, bytes} ->
          line = ending(line, bytes)
          {:cont, {[%{level: level, text: line} | lines], most - 1, bytes - byte_size(line)}}
      end)

    last(messages, lines, most, bytes)
  end

  defp last(_messages, lines, _most, _bytes), do: lines

  # The last bytes of a text, from a whole letter on.
  defp ending(text, most) when byte_size(text) <= most, do: text

  defp ending(text, most),
    do: text |> binary_part(byte_size(text) - most, most) |> whole()

  defp whole(<<2::2, _rest::6, text::binary>>), do: whole(text)
  defp whole(text), do: text
end
