defmodule Slither.UUID do
  @moduledoc """
  A UUID: a `uuid.UUID` in Python. `data` are its 16 bytes.

      iex> uuid = Slither.UUID.new("550e8400-e29b-41d4-a716-446655440000")
      iex> to_string(uuid)
      "550e8400-e29b-41d4-a716-446655440000"

  Ecto keeps UUIDs as texts (`Ecto.UUID`) or as their bytes: give either to `new/1`.
  """

  @enforce_keys [:data]
  defstruct [:data]

  @type t :: %__MODULE__{data: <<_::128>>}

  @doc """
  The UUID of a text, with or without its hyphens, or of 16 bytes.

  Raises `Slither.Error` (`:invalid_option`) for anything else.

      iex> Slither.UUID.new("550E8400E29B41D4A716446655440000").data
      <<85, 14, 132, 0, 226, 155, 65, 212, 167, 22, 68, 102, 85, 68, 0, 0>>
  """
  @spec new(binary) :: t
  def new(<<data::binary-16>>), do: %__MODULE__{data: data}

  def new(text) when is_binary(text) do
    with true <- byte_size(text) in [32, 36],
         {:ok, <<_::128>> = data} <- text |> bare() |> Base.decode16(case: :mixed) do
      %__MODULE__{data: data}
    else
      _ ->
        raise Slither.Error,
          reason: :invalid_option,
          message: "no UUID: #{inspect(text, printable_limit: 60)}"
    end
  end

  defp bare(
         <<a::binary-8, "-", b::binary-4, "-", c::binary-4, "-", d::binary-4, "-", e::binary>>
       ),
       do: a <> b <> c <> d <> e

  defp bare(text), do: text

  defimpl String.Chars do
    def to_string(%{data: data}) do
      <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary>> =
        Base.encode16(data, case: :lower)

      Enum.join([a, b, c, d, e], "-")
    end
  end

  defimpl Inspect do
    def inspect(%{data: <<_::128>>} = uuid, _options), do: "Slither.UUID.new(\"#{uuid}\")"
    def inspect(uuid, options), do: Inspect.Any.inspect(uuid, options)
  end
end
