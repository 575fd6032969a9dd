defmodule Slither.Python.Rlimits do
  @moduledoc false
  # What the system itself is to refuse a worker (`setrlimit`): the option `rlimits:` of a pool, and
  # the map that a worker gets, which sets them before it imports anything. Pure; called by whoever
  # starts a pool, and by owners of workers.

  @names ~w(as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending
            stack)a
  @words Map.new(@names, &{Atom.to_string(&1), &1})

  @type limit :: non_neg_integer | :infinity
  @typedoc "The limit that holds, and the one up to which a process may raise it, where that is set."
  @type t :: %{String.t() => [non_neg_integer | nil, ...]}

  @doc "What the option takes, in words."
  @spec accepted() :: String.t()
  def accepted do
    "limits by the names of resources (#{Enum.map_join(@names, ", ", &inspect/1)}), each a whole " <>
      "number, :infinity, or {soft, hard} of them; or nil"
  end

  @doc "Whether the option's value is one. A driver's is a map, with nil for no limit."
  @spec valid?(term) :: boolean
  def valid?(nil), do: true
  def valid?(%{} = limits) when not is_struct(limits), do: Enum.all?(limits, &one?/1)
  def valid?(limits), do: Keyword.keyword?(limits) and Enum.all?(limits, &one?/1)

  defp one?({name, limit}), do: known?(name) and fits?(pair(limit))

  defp known?(name), do: name in @names or is_map_key(@words, name)

  defp fits?([soft]), do: limit?(soft)

  defp fits?([soft, hard]),
    do: limit?(soft) and limit?(hard) and (hard == nil or (soft != nil and soft <= hard))

  defp limit?(limit), do: limit == nil or (is_integer(limit) and limit >= 0)

  # A driver has no tuples.
  defp pair({soft, hard}), do: [none(soft), none(hard)]
  defp pair([soft, hard]), do: [none(soft), none(hard)]
  defp pair(soft), do: [none(soft)]

  defp none(:infinity), do: nil
  defp none(limit), do: limit

  @doc """
  The map for workers, of the option's value.

      iex> Slither.Python.Rlimits.new(nofile: 1_024, core: {0, :infinity})
      %{"core" => [0, nil], "nofile" => [1024]}
  """
  @spec new(term) :: t | nil
  def new(nil), do: nil
  def new(limits), do: Map.new(limits, fn {name, limit} -> {to_string(name), pair(limit)} end)
end
