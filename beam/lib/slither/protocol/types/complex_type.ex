defmodule Slither.Protocol.Types.ComplexType do
  @moduledoc false
  # Complex numbers: two floats. The codec and expressions call it.

  @behaviour Slither.Protocol.Type

  alias Slither.{Complex, Number}

  @specials [
    nan: 0x7FF8000000000000,
    infinity: 0x7FF0000000000000,
    neg_infinity: 0xFFF0000000000000
  ]

  @impl true
  def code, do: 10

  @impl true
  def structs, do: [Complex]

  @impl true
  def name, do: :complex

  @impl true
  def encode(%{re: re, im: im}) do
    with {:ok, re} <- part(re), {:ok, im} <- part(im), do: {:ok, code(), [re | im]}
  end

  defp part(f) when is_float(f), do: {:ok, <<f::float>>}

  for {name, bits} <- @specials do
    defp part(unquote(name)), do: {:ok, <<unquote(bits)::64>>}
  end

  defp part(_other), do: {:error, "a Complex whose parts are no floats; make it by Complex.new/2"}

  @impl true
  def decode(<<re::binary-8, im::binary-8>>), do: {:ok, %Complex{re: float(re), im: float(im)}}
  def decode(_data), do: {:error, "a malformed complex"}

  defp float(<<f::float>>), do: f
  defp float(<<0::1, 0x7FF::11, 0::52>>), do: :infinity
  defp float(<<1::1, 0x7FF::11, 0::52>>), do: :neg_infinity
  defp float(_nan), do: :nan

  # Python takes a number without an imaginary part for the real one, and no NaN for another.
  @impl true
  def key(%{re: re, im: im}) do
    with {:ok, _re} <- part(re), {:ok, _im} <- part(im) do
      if im == 0 and re != :nan,
        do: {:ok, Number.key(re)},
        else: {:ok, {:complex, Number.key(re), Number.key(im)}}
    end
  end
end
