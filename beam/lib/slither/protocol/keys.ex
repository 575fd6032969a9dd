defmodule Slither.Protocol.Keys do
  @moduledoc false
  # What keys of maps and elements of sets are in Python: which of them are one there, and which can
  # be none. The codec asks in both directions, and expressions, in whatever process they run.
  #
  # What is wrong is thrown as the codec throws it.

  alias Slither.{Bytes, FrozenSet, Number, Tagged}
  alias Slither.Protocol.{StandIn, Types}
  alias Slither.Protocol.Types.Moment

  @types for type <- Types.all(), struct <- type.structs(), into: %{}, do: {struct, type}
  @specials [:nan, :infinity, :neg_infinity]
  # What a struct of the user's own is sent as may have another within, or itself, without end. No
  # key that can be sent has more of them in each other.
  @most_within 1_000

  @doc "Throws where the keys of these pairs can't share a map in Python."
  @spec check([{term, term}]) :: :ok
  def check(pairs) do
    if strings?(pairs) or plain_atoms?(pairs),
      do: :ok,
      else: distinct(for({key, _} <- pairs, do: key), "keys", "one key in Python")
  end

  @doc "Throws where these can't be the elements of one set in Python."
  @spec check_elements(list) :: :ok
  def check_elements(elements) do
    if all_strings?(elements) or all_integers?(elements),
      do: :ok,
      else: distinct(elements, "elements", "one element in Python")
  end

  defp strings?([{key, _} | rest]) when is_binary(key), do: strings?(rest)
  defp strings?(rest), do: rest == []

  defp plain_atoms?([{key, _} | rest]) when is_atom(key), do: plain_atoms?(rest)
  defp plain_atoms?(rest), do: rest == []

  defp all_strings?([element | rest]) when is_binary(element), do: all_strings?(rest)
  defp all_strings?(rest), do: rest == []

  defp all_integers?([element | rest]) when is_integer(element), do: all_integers?(rest)
  defp all_integers?(rest), do: rest == []

  defp distinct(keys, what, are) do
    apart(keys, &form/1, what, are)
    # Two moments of one zone are one key in Python where its clocks show the same.
    if Enum.any?(keys, &zoned?/1), do: apart(keys, &wall_form/1, what, are), else: :ok
  end

  defp apart(keys, form, what, are) do
    same = Enum.group_by(keys, form)

    case map_size(same) < length(keys) && Enum.find(same, fn {_, keys} -> tl(keys) != [] end) do
      false -> :ok
      {_, keys} -> bad("#{what} #{Enum.map_join(keys, " and ", &inspect/1)} are #{are}")
    end
  end

  @doc "A stand-in for a key that is equal exactly where Python's dict takes two keys for one."
  @spec form(term) :: term
  def form(key), do: form(key, @most_within)

  defp form(key, _left) when is_binary(key), do: key
  defp form(true, _left), do: 1
  defp form(false, _left), do: 0
  defp form(nil, _left), do: {:special, nil}
  defp form(key, _left) when is_number(key) or key in @specials, do: Number.key(key)
  defp form(key, _left) when is_atom(key), do: Atom.to_string(key)
  defp form(key, left) when is_list(key), do: listed(key, &form(&1, left))
  defp form(key, left) when is_tuple(key), do: key |> Tuple.to_list() |> form(left)
  defp form(%Bytes{} = key, _left), do: key
  defp form(%MapSet{} = set, left), do: {:set, MapSet.new(set, &form(&1, left))}
  defp form(%FrozenSet{set: %MapSet{} = set}, left), do: form(set, left)
  defp form(%Tagged{name: name, value: value}, left), do: {:tagged, name, form(value, left)}

  defp form(%{__struct__: struct} = key, _left) when is_map_key(@types, struct) do
    case @types[struct].key(key) do
      {:ok, key} -> key
      {:error, why} -> bad(why)
    end
  end

  defp form(%{__struct__: _} = struct, left) do
    case StandIn.for(struct) do
      {:ok, _term} when left == 0 ->
        bad("nests more than #{@most_within} containers")

      {:ok, term} ->
        form(term, left - 1)

      {:error, why} ->
        bad(why)
    end
  end

  defp form(key, _left) when is_map(key), do: bad("a map can't be a key of a map in Python")
  defp form(key, _left), do: key

  # As `form/1`, but for the clocks of zones.
  defp wall_form(%DateTime{} = key) do
    if zoned?(key), do: {:wall, key.time_zone, DateTime.to_naive(key)}, else: form(key)
  end

  defp wall_form(key) when is_list(key), do: listed(key, &wall_form/1)
  defp wall_form(key) when is_tuple(key), do: key |> Tuple.to_list() |> wall_form()
  defp wall_form(%MapSet{} = set), do: {:set, MapSet.new(set, &wall_form/1)}
  defp wall_form(%FrozenSet{set: %MapSet{} = set}), do: wall_form(set)
  defp wall_form(key), do: form(key)

  defp zoned?(%DateTime{} = key), do: Moment.named?(key)
  defp zoned?(key) when is_list(key), do: Enum.any?(key, &zoned?/1)
  defp zoned?(key) when is_tuple(key), do: key |> Tuple.to_list() |> zoned?()
  defp zoned?(%MapSet{} = set), do: Enum.any?(set, &zoned?/1)
  defp zoned?(%FrozenSet{set: set}), do: zoned?(set)
  defp zoned?(_key), do: false

  defp listed(list, form) do
    if List.improper?(list), do: bad("an improper list can't be sent")
    Enum.map(list, form)
  end

  @spec bad(String.t()) :: no_return
  defp bad(why), do: throw({:bad, why})
end
