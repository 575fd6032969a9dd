defmodule Slither.Pool.Changes do
  @moduledoc false
  # Restarts and resizes that somebody waits for, one at a time. Pure: answers are returned, for
  # the scheduler to send.

  alias Slither.Error
  alias Slither.Pool.Roster

  defstruct current: nil, queue: :queue.new()

  @type kind :: :restart | {:resize, pos_integer}
  @type answer :: {from :: term, :ok | {:error, Error.t()}}
  @type t :: %__MODULE__{}

  @doc "One more, in its turn."
  @spec add(t, kind, term) :: t
  def add(changes, kind, from), do: %{changes | queue: :queue.in({kind, from}, changes.queue)}

  @doc "Ends the change that is done, and begins the next; both may be nil."
  @spec advance(t, Roster.t()) :: {answer | nil, kind | nil, t, Roster.t()}
  def advance(%__MODULE__{current: nil} = changes, roster), do: begin(changes, roster, nil)

  def advance(%__MODULE__{current: current} = changes, roster) do
    if done?(current, roster),
      do: begin(%{changes | current: nil}, roster, {current.from, :ok}),
      else: {nil, nil, changes, roster}
  end

  @doc "A worker can't start: the change is undone, unless it was to have fewer."
  @spec fail(t, Roster.t(), Error.t()) :: {answer | nil, t, Roster.t()}
  def fail(%__MODULE__{current: %{shrinks: false} = current} = changes, roster, error) do
    roster = roster |> Roster.resize(current.size) |> Roster.keep(current.oldest)
    {{current.from, {:error, error}}, %{changes | current: nil}, roster}
  end

  def fail(changes, roster, _error), do: {nil, changes, roster}

  defp done?(%{shrinks: true}, roster), do: Roster.shrunk?(roster)
  defp done?(_current, roster), do: Roster.settled?(roster)

  defp begin(changes, roster, answer) do
    case :queue.out(changes.queue) do
      {:empty, _queue} ->
        {answer, nil, changes, roster}

      {{:value, {kind, from}}, queue} ->
        shrinks? = match?({:resize, size} when size <= roster.size, kind)
        now = %{from: from, size: roster.size, oldest: roster.oldest, shrinks: shrinks?}
        {answer, kind, %{changes | current: now, queue: queue}, apply_to(roster, kind)}
    end
  end

  defp apply_to(roster, :restart), do: Roster.renew(roster)
  defp apply_to(roster, {:resize, size}), do: Roster.resize(roster, size)
end
