defmodule Slither.Run.Regroup do
  @moduledoc false
  # A `:batch` stage: entries that wait until enough have come, or for long enough. What it
  # makes of them has the seq of the last one.

  alias Slither.Item
  alias Slither.Run.{Bypass, Mailbox}

  @enforce_keys [:name, :size, :timeout, :inbox]
  defstruct [:name, :size, :timeout, :inbox, :timer, :due, held: [], count: 0] ++
              [past: %Bypass{}, fed: 0]

  @type t :: %__MODULE__{}
  @type entry :: {term, Item.t()}

  @doc "Takes entries in; gives `{entry, size}` of the groups that are complete."
  @spec add(t, [entry]) :: {[{entry, pos_integer}], t}
  def add(group, entries) do
    group = %{group | fed: group.fed + length(entries)}
    {made, group} = Enum.reduce(entries, {[], group}, &add_one/2)
    {late, group} = if due?(group), do: flush(group), else: {[], group}
    {Enum.reverse(made, late), group}
  end

  @doc "The entries that wait, as one."
  @spec flush(t) :: {[{entry, pos_integer}], t}
  def flush(%__MODULE__{count: 0} = group), do: {[], group}

  def flush(%__MODULE__{held: [{seq, _item} | _] = held} = group) do
    items = held |> Enum.reverse() |> Enum.map(&elem(&1, 1))
    item = %Item{id: Enum.map(items, & &1.id), payload: Enum.map(items, & &1.payload)}
    made = {{seq, item}, group.count}
    {[made], %{stop(group) | held: [], count: 0}}
  end

  @doc "A timer ran out; it may be an old one."
  @spec timer(t, reference) :: {[{entry, pos_integer}], t}
  def timer(%__MODULE__{timer: timer} = group, timer) when timer != nil, do: flush(group)
  def timer(group, _timer), do: {[], group}

  @doc "Stops its timer."
  @spec stop(t) :: t
  def stop(%__MODULE__{timer: nil} = group), do: group

  def stop(group) do
    _ = :erlang.cancel_timer(group.timer)
    %{group | timer: nil, due: nil}
  end

  defp add_one(entry, {made, group}) do
    group = group |> begin() |> Map.update!(:held, &[entry | &1])
    group = %{group | count: group.count + 1}

    if group.count == group.size do
      {more, group} = flush(group)
      {more ++ made, group}
    else
      {made, group}
    end
  end

  defp begin(%__MODULE__{count: 0, timeout: timeout} = group) when timeout != :infinity do
    timer = Mailbox.start_timer(group.inbox, timeout)
    %{group | timer: timer, due: System.monotonic_time(:millisecond) + timeout}
  end

  defp begin(group), do: group

  # While the input is pulled no message is read: the clock says what the timer would.
  defp due?(%__MODULE__{due: nil}), do: false
  defp due?(%__MODULE__{due: due}), do: System.monotonic_time(:millisecond) >= due
end
