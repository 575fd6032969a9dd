defmodule Slither.Protocol.Types.PathType do
  @moduledoc false
  # Paths of files: what kind they are, and their bytes. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.Path

  @flavours [path: 0, pure_posix: 1, pure_windows: 2]

  @impl true
  def code, do: 15

  @impl true
  def structs, do: [Path]

  @impl true
  def name, do: :path

  @impl true
  def encode(%{flavour: flavour, data: data}) do
    number = is_atom(flavour) && @flavours[flavour]

    cond do
      !number ->
        {:error,
         "a path's flavour is :path, :pure_posix or :pure_windows, got #{inspect(flavour)}"}

      not is_binary(data) ->
        {:error, "a path's data is a binary, got #{inspect(data)}"}

      flavour == :pure_windows and not String.valid?(data) ->
        {:error, "a :pure_windows path that is not UTF-8"}

      true ->
        {:ok, code(), [number | data]}
    end
  end

  @impl true
  def decode(<<number, data::binary>>) when number < 2,
    do: {:ok, %Path{flavour: flavour(number), data: data}}

  def decode(<<2, data::binary>>) do
    if String.valid?(data),
      do: {:ok, %Path{flavour: :pure_windows, data: data}},
      else: {:error, "a malformed path"}
  end

  def decode(_data), do: {:error, "a malformed path"}

  for {flavour, number} <- @flavours, do: defp(flavour(unquote(number)), do: unquote(flavour))

  @impl true
  def key(path),
    do: with({:ok, _code, _data} <- encode(path), do: {:ok, {:path, Path.plain(path)}})
end
