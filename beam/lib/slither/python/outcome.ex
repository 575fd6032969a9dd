defmodule Slither.Python.Outcome do
  @moduledoc false
  # What became of one call. A lane makes it, or whatever else runs a batch; it goes to the inbox
  # of who asked, through `Slither.Python.Inbox.tell/2`.

  alias Slither.Error
  alias Slither.Python.Timing

  @enforce_keys [:kind]
  defstruct [:kind, :error, :timing, :call, :at, values: [], errors: %{}]

  @typedoc """
  `:ok` has `values`, one for each item, and the `errors` of single items by their index. The
  others have an `error`: the call failed (`:error`), its worker ended while it ran it (`:died`),
  or its worker ended before it began, so that another may run it (`:requeue`). `at` is the item
  that its worker was ended for, by its place in what the parts before have not decided; nil where
  it is all of them. One that was decided meanwhile is before them all.

  `timing` is nil where nothing was measured.

  Where items have many values, `values` are entries, as in `Slither.Python.Lane.Entries`, and
  `errors` are those of items that could not be sent; `call` is the worker's owner and the number
  by which it knows the call, for those that go on with it.
  """
  @type t :: %__MODULE__{
          kind: :ok | :error | :died | :requeue,
          values: [term],
          errors: errors,
          at: integer | nil,
          error: Error.t() | nil,
          timing: Timing.t() | nil,
          call: {worker :: pid, number :: pos_integer} | nil
        }
  @typedoc "Errors of single items, by their index in the call."
  @type errors :: %{optional(non_neg_integer) => Exception.t()}

  @doc "A call that gave results."
  @spec ok([term], errors, Timing.t() | nil) :: t
  def ok(values, errors, timing),
    do: %__MODULE__{kind: :ok, values: values, errors: errors, timing: timing}

  @doc "A call that failed."
  @spec error(Exception.t(), Timing.t() | nil) :: t
  def error(error, timing), do: %__MODULE__{kind: :error, error: error, timing: timing}

  @doc "A call whose worker ended while it ran it."
  @spec died(Error.t(), Timing.t() | nil) :: t
  def died(error, timing), do: %__MODULE__{kind: :died, error: error, timing: timing}

  @doc "A call whose worker ended before it began it."
  @spec requeue(Error.t()) :: t
  def requeue(error), do: %__MODULE__{kind: :requeue, error: error}

  @doc "The slot of the worker that served the call; nil where its lane can't be used again."
  @spec slot(t) :: non_neg_integer | nil
  # The lane has returned its own lease.
  def slot(%__MODULE__{timing: %Timing{given_back?: true}}), do: nil

  def slot(%__MODULE__{kind: kind, timing: %Timing{worker: slot}}) when kind in [:ok, :error],
    do: slot

  def slot(_lost_its_worker), do: nil
end
