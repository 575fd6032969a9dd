defmodule Slither.Item do
  @moduledoc """
  One unit of work: what goes into a dispatch or a pipe, and what comes out.

    * `id`: names the item in errors. A payload that a dispatch or pipe wraps has its place in the
      input, from 0; what you wrap yourself has a number that is unique within this node;
    * `payload`: what handlers see and replace;
    * `meta`: facts about the item that never cross to Python, such as `:error`, `:skipped`
      and `:attempts` after a failure;
    * `route`: the output a policy chose for it, or `nil`.
  """

  @enforce_keys [:id]
  defstruct [:id, :payload, meta: %{}, route: nil]

  @type t :: %__MODULE__{id: term, payload: term, meta: map, route: atom | String.t() | nil}

  @doc """
  Wraps a payload; an item is returned as it is.

      iex> item = Slither.Item.wrap(%{"text" => "hello"})
      iex> {item.payload, item.meta, item.route}
      {%{"text" => "hello"}, %{}, nil}
      iex> Slither.Item.wrap(item) == item
      true
  """
  @spec wrap(term) :: t
  def wrap(%__MODULE__{} = item), do: item
  def wrap(payload), do: %__MODULE__{id: System.unique_integer([:positive]), payload: payload}

  @doc """
  Wraps each element of an enumerable, into a list.

      iex> Enum.map(Slither.Item.wrap_many([1, 2]), & &1.payload)
      [1, 2]
  """
  @spec wrap_many(Enumerable.t()) :: [t]
  def wrap_many(payloads), do: Enum.map(payloads, &wrap/1)

  @doc """
  The item with another payload, or with a function applied to its payload.

      iex> item = Slither.Item.wrap(1)
      iex> Slither.Item.update_payload(item, &(&1 + 1)).payload
      2
      iex> Slither.Item.update_payload(item, "two").payload
      "two"
  """
  @spec update_payload(t, (term -> term) | term) :: t
  def update_payload(%__MODULE__{} = item, fun) when is_function(fun, 1),
    do: %{item | payload: fun.(item.payload)}

  def update_payload(%__MODULE__{} = item, payload), do: %{item | payload: payload}

  @doc """
  Adds facts to `meta`, from a map or a keyword list.

      iex> Slither.Item.put_meta(Slither.Item.wrap(1), source: "csv").meta
      %{source: "csv"}
  """
  @spec put_meta(t, map | keyword) :: t
  def put_meta(%__MODULE__{} = item, facts),
    do: %{item | meta: Map.merge(item.meta, Map.new(facts))}
end
