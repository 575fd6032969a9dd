defmodule Slither.Protocol.Type do
  @moduledoc false
  # A kind of value that msgpack has none for: an extension type of the protocol, with a code of its
  # own. The codec and expressions, in whatever process they run, call the modules that
  # `Slither.Protocol.Types` lists. A new type is one more of them, here and in Python.

  @doc "The extension type's number on the wire."
  @callback code() :: 0..127

  @doc "The structs that the type encodes; none where another one, or the encoder, knows them."
  @callback structs() :: [module]

  @doc "The type's name in expressions."
  @callback name() :: atom

  @doc "A value's code and bytes, without the extension's header, or why it has none."
  @callback encode(term) :: {:ok, 0..127, iodata} | {:error, String.t()}

  @doc "The value of bytes, or what is wrong with them."
  @callback decode(binary) :: {:ok, term} | {:error, String.t()}

  @doc "What stands for the value as a key of a map: equal where Python takes two keys for one."
  @callback key(term) :: {:ok, term} | {:error, String.t()}

  @doc "Which of two values is greater, or `:none` where they have no order; of ordered types."
  @callback order(term, term) :: :lt | :eq | :gt | :none

  @optional_callbacks order: 2

  @doc "The zero bytes that bring `size` bytes up to a multiple of `to`."
  @spec padding(non_neg_integer, pos_integer) :: non_neg_integer
  def padding(size, to), do: rem(to - rem(size, to), to)
end
