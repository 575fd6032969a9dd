defmodule Slither.Protocol.StandIn do
  @moduledoc false
  # What is sent in place of a struct that the protocol does not know, as `Slither.Encodable` says. The
  # codec and expressions ask, in whatever process they run.

  alias Slither.{Bytes, Encodable, FrozenSet, Tagged}
  alias Slither.Protocol.{Encoded, Types}

  # Structs that stand for one another, at most.
  @most 100
  @known [Bytes, Encoded, MapSet, FrozenSet, Tagged | Enum.flat_map(Types.all(), & &1.structs())]

  @doc "The term for a struct, which is none that needs one; or why there is none."
  @spec for(map) :: {:ok, term} | {:error, String.t()}
  def for(%{__struct__: name} = struct) when is_atom(name), do: asked(struct, @most)
  def for(_map), do: {:error, "a map whose __struct__ is no module can't be sent"}

  defp asked(%{__struct__: name}, 0),
    do: {:error, "Slither.Encodable of #{inspect(name)} gives one struct after the other"}

  defp asked(%{__struct__: name} = struct, left) do
    case Encodable.impl_for(struct) || later(name) do
      nil -> {:error, "%#{inspect(name)}{} can't be sent; " <> advice(name)}
      implementation -> struct |> implementation.encode() |> further(left - 1)
    end
  rescue
    error ->
      raised = "#{inspect(error.__struct__)}: #{Exception.message(error)}"
      {:error, "Slither.Encodable of #{inspect(name)} raised #{raised}"}
  catch
    kind, reason ->
      {:error, "Slither.Encodable of #{inspect(name)}: " <> Exception.format_banner(kind, reason)}
  end

  defp further(%{__struct__: name} = other, left) when name not in @known and is_atom(name),
    do: asked(other, left)

  defp further(term, _left), do: {:ok, term}

  # Consolidated, the protocol does not know what was compiled later, as in iex.
  defp later(name) do
    implementation = Module.concat(Encodable, name)
    if Code.ensure_loaded?(implementation), do: implementation
  end

  defp advice(name) do
    case name do
      _ when name in [Range, Date.Range, Stream, File.Stream] -> "send Enum.to_list(value)"
      URI -> "send URI.to_string(value)"
      Regex -> "send Regex.source(value)"
      Version -> "send to_string(value)"
      Bytes -> "make it by Slither.Bytes.new/1"
      FrozenSet -> "make it by Slither.FrozenSet.new/1"
      Tagged -> "its name is no text"
      Encoded -> "as a key or in a set; send what Slither.Protocol.unpack/1 makes of its data"
      _ -> "implement Slither.Encodable for it, or send a map: Map.from_struct(value)"
    end
  end
end
