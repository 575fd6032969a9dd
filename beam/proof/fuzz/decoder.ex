defmodule Slither.Proof.Fuzz.Decoder do
  @moduledoc false
  # BEAM's decoder: whatever the bytes, it gives a frame that can be sent again, or a reason.

  alias Slither.Protocol
  alias Slither.Protocol.Frame

  @doc "What a body is: `:taken`, or `{:refused, class}`. Raises where it is neither."
  @spec check(binary) :: :taken | {:refused, String.t()}
  def check(body) do
    peeked = Frame.peek(body)
    # Asked only of bodies whose head could be read.
    second = if peeked != :error, do: Frame.second_integer(body), else: :error
    :ok = value(body)

    case Frame.decode(body) do
      {:ok, frame} when is_tuple(frame) ->
        true = again?(frame)
        true = agree?(frame, peeked, second)
        :taken

      {:error, why} when is_binary(why) and why != "" ->
        true = String.valid?(why)
        {:refused, class(why)}
    end
  end

  @doc "A reason without what differs from one frame to the next: numbers, names, values."
  @spec class(String.t()) :: String.t()
  def class("field " <> _ = why),
    do: why |> String.split(", not ") |> List.last() |> wrong_field()

  def class("keys " <> _), do: "keys that are one key in Python"
  def class("a tensor of unknown dtype" <> _), do: "a tensor of unknown dtype"

  def class(why) do
    if String.contains?(why, " fields, got "), do: "another count of fields", else: plain(why, [])
  end

  defp wrong_field(type), do: "a field that is not #{type}"

  defp plain(<<digit, rest::binary>>, ["N" | _] = acc) when digit in ?0..?9, do: plain(rest, acc)
  defp plain(<<digit, rest::binary>>, acc) when digit in ?0..?9, do: plain(rest, ["N" | acc])
  defp plain(<<char, rest::binary>>, acc), do: plain(rest, [char | acc])
  defp plain(<<>>, acc), do: acc |> Enum.reverse() |> IO.iodata_to_binary()

  defp value(body) do
    case Protocol.unpack(body) do
      {:ok, _value} -> :ok
      {:error, %Slither.Error{reason: :not_decodable, message: why}} when why != "" -> :ok
    end
  end

  # A frame may nest a little deeper than what is sent in one.
  defp again?(frame) do
    case Frame.encode(frame) do
      {:ok, again} -> again |> IO.iodata_to_binary() |> Frame.decode() === {:ok, frame}
      {:error, why} -> why =~ "nests more than"
    end
  end

  # What is learned at a glance is what the whole frame says.
  defp agree?(frame, peeked, second) do
    case Tuple.to_list(frame) do
      [name, first, other | _] when is_integer(first) and is_integer(other) ->
        peeked in [{name, first}, :error] and second in [{:ok, other}, :error]

      [name, first | _] when is_integer(first) ->
        peeked in [{name, first}, :error]

      _ ->
        peeked == :error
    end
  end
end
