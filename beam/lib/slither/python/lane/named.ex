defmodule Slither.Python.Lane.Named do
  @moduledoc false
  # The calls of a session of a Python program are one run of one function, `slither._worker.named.call`,
  # which is given the name of the function that each is of. Whoever is told what a worker runs is told
  # that one. Pure; called by `Lane.Exchange`, in a lane's process.

  alias Slither.Protocol.{Block, Decoder, Encoded, Encoder, Splitter}

  @head IO.iodata_to_binary(Encoder.encode!(["apply", "slither._worker.named", "call"]))

  @doc "The target that a call's item names; nil where its head says what it calls."
  @spec target(binary, [term]) :: [String.t()] | nil
  def target(@head <> _context, [%kind{data: data} | _items]) when kind in [Block, Encoded],
    do: named(data)

  def target(_head, _items), do: nil

  # A list of the arguments and of the named ones; of the former, the first two are the names.
  defp named(<<0x92, 0x94, names::binary>>) do
    with {:ok, rest} <- Splitter.skip(names, 2),
         # As a list of two, copied, so that the frame is not kept.
         two = <<0x92, binary_part(names, 0, byte_size(names) - byte_size(rest))::binary>>,
         {:ok, [module, name]} when is_binary(module) and is_binary(name) <- Decoder.decode(two),
         do: ["apply", :binary.copy(module), :binary.copy(name)],
         else: (_another -> nil)
  end

  defp named(_another), do: nil
end
