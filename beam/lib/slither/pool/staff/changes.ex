defmodule Slither.Pool.Staff.Changes do
  @moduledoc false
  # Restarts and resizes, of which one is made at a time while their callers wait. Pure, of
  # `Slither.Pool.Upkeep`: each function returns the answer that a caller gets now.

  alias Slither.Error
  alias Slither.Pool.Staff

  defstruct current: nil, queue: :queue.new()

  @type kind :: :restart | {:resize, Staff.size()}
  @type answer :: {from :: term, :ok | {:error, Error.t()}}

  @typedoc """
  The change that is made now, and those that wait. Of the `current` one are kept: its caller, the
  size, its range and the oldest epoch before it, and whether it leaves the pool no larger.
  """
  @type t :: %__MODULE__{
          current:
            nil
            | %{
                from: term,
                size: pos_integer,
                range: Range.t(),
                oldest: integer,
                shrinks: boolean
              },
          queue: :queue.queue({kind, from :: term})
        }

  @doc "Somebody asks for a change."
  @spec add(t, kind, term) :: t
  def add(changes, kind, from), do: %{changes | queue: :queue.in({kind, from}, changes.queue)}

  @doc "Answers the change that is done, and begins the next; there may be neither."
  @spec advance(t, Staff.t()) :: {answer | nil, kind | nil, t, Staff.t()}
  def advance(%__MODULE__{current: nil} = changes, staff), do: begin(changes, staff, nil)

  def advance(%__MODULE__{current: current} = changes, staff) do
    if done?(current, staff),
      do: begin(%{changes | current: nil}, staff, {current.from, :ok}),
      else: {nil, nil, changes, staff}
  end

  @doc "Whether there is one."
  @spec any?(t) :: boolean
  def any?(changes), do: changes.current != nil or not :queue.is_empty(changes.queue)

  @doc "A worker can't start: undoes the change, unless it needs no more workers."
  @spec fail(t, Staff.t(), Error.t()) :: {answer | nil, t, Staff.t()}
  def fail(%__MODULE__{current: %{shrinks: false} = current} = changes, staff, error) do
    staff = staff |> Staff.resize(current.range) |> Staff.sized(current.size)
    staff = Staff.keep(staff, current.oldest)
    {{current.from, {:error, error}}, %{changes | current: nil}, staff}
  end

  def fail(changes, staff, _error), do: {nil, changes, staff}

  defp done?(%{shrinks: true}, staff), do: Staff.shrunk?(staff)
  defp done?(_current, staff), do: Staff.settled?(staff)

  defp begin(changes, staff, answer) do
    case :queue.out(changes.queue) do
      {:empty, _queue} ->
        {answer, nil, changes, staff}

      {{:value, {kind, from}}, queue} ->
        changed = apply_to(staff, kind)
        shrinks? = match?({:resize, _size}, kind) and changed.size <= staff.size
        now = %{from: from, size: staff.size, range: staff.least..staff.most}
        now = Map.merge(now, %{oldest: staff.oldest, shrinks: shrinks?})
        {answer, kind, %{changes | current: now, queue: queue}, changed}
    end
  end

  defp apply_to(staff, :restart), do: Staff.renew(staff)
  defp apply_to(staff, {:resize, size}), do: Staff.resize(staff, size)
end
