defmodule Slither.Protocol.Type do
  @moduledoc false
  # A kind of value that msgpack has none for: an extension type of the protocol, with a code of its
  # own. The codec, in whatever process encodes or decodes, calls the modules that
  # `Slither.Protocol.Types` lists. A new type is one more of them, here and in Python.

  @doc "The extension type's number on the wire."
  @callback code() :: 0..127

  @doc "The struct whose values are of the type; nil where the encoder knows them otherwise."
  @callback struct() :: module | nil

  @doc "A value's bytes, without the extension's header, or why it has none."
  @callback encode(term) :: {:ok, iodata} | {:error, String.t()}

  @doc "The value of bytes, or what is wrong with them."
  @callback decode(binary) :: {:ok, term} | {:error, String.t()}

  @doc "What stands for the value as a key of a map: equal where Python takes two keys for one."
  @callback key(term) :: {:ok, term} | {:error, String.t()}
end
