defmodule Slither.Pool.Ordered do
  @moduledoc false
  # Things in order under keys. Pure: what `Slither.Pool.Line` and `Slither.Pool.Turns` are made of.
  # All but `all/2` take time for the depth of a tree, however many things there are.

  @typedoc "No key is without things."
  @type t(key, thing) :: %{optional(key) => :gb_sets.set(thing)}

  @doc "Puts a thing in its order."
  @spec put(t(key, thing), key, thing) :: t(key, thing) when key: term, thing: term
  def put(sets, key, thing) do
    set = Map.get_lazy(sets, key, &:gb_sets.empty/0)
    Map.put(sets, key, :gb_sets.add_element(thing, set))
  end

  @doc "Takes a thing out."
  @spec delete(t(key, thing), key, thing) :: t(key, thing) when key: term, thing: term
  def delete(sets, key, thing) do
    set = :gb_sets.del_element(thing, Map.fetch!(sets, key))
    if :gb_sets.is_empty(set), do: Map.delete(sets, key), else: Map.put(sets, key, set)
  end

  @doc "The first under a key."
  @spec first(t(key, thing), key) :: thing | nil when key: term, thing: term
  def first(sets, key) do
    case sets do
      %{^key => set} -> :gb_sets.smallest(set)
      _none -> nil
    end
  end

  @doc "All under a key."
  @spec all(t(key, thing), key) :: [thing] when key: term, thing: term
  def all(sets, key) do
    case sets do
      %{^key => set} -> :gb_sets.to_list(set)
      _none -> []
    end
  end
end
