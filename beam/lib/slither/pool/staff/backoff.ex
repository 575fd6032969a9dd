defmodule Slither.Pool.Staff.Backoff do
  @moduledoc false
  # How long a pool whose workers can't start waits before it tries again, and when it stops
  # letting callers wait. Pure.

  # ms, doubled for each round.
  @first 100
  @longest 10_000
  # After so many failed starts in a row, callers get the reason instead of a place in the queue.
  @patience 3
  # So many workers in a row that end as soon as they are ready are a start that fails.
  @patience_when_ready 3

  defstruct failures: 0, rounds: 0, flaps: 0, held: false

  @type t :: %__MODULE__{
          failures: non_neg_integer,
          rounds: non_neg_integer,
          flaps: non_neg_integer,
          held: boolean
        }

  @doc "A start failed. Returns ms to wait, or nil where a wait is under way."
  @spec failed(t) :: {pos_integer | nil, t}
  def failed(backoff), do: hold(%{backoff | failures: backoff.failures + 1})

  @doc """
  A worker has ended; `early?` where it had just begun, and had run nothing.

  Returns ms to wait before it is replaced, nil for none.
  """
  @spec ended(t, boolean) :: {pos_integer | nil, t}
  def ended(backoff, false), do: {nil, %{backoff | flaps: 0}}

  def ended(%__MODULE__{flaps: flaps} = backoff, true) when flaps + 1 < @patience_when_ready,
    do: {nil, %{backoff | flaps: flaps + 1}}

  def ended(backoff, true), do: hold(%{backoff | flaps: backoff.flaps + 1})

  @doc "A worker is ready. One that flaps is ready, too: its rounds go on."
  @spec ready(t) :: t
  def ready(%__MODULE__{flaps: flaps} = backoff) when flaps >= @patience_when_ready,
    do: %{backoff | failures: 0}

  def ready(backoff), do: %{backoff | failures: 0, rounds: 0}

  @doc "The wait is over, or somebody asks for a start now."
  @spec retry(t) :: t
  def retry(backoff), do: %{backoff | held: false}

  @doc "How many workers may be starting at once: one, to see whether it can, after a failure."
  @spec room(t) :: non_neg_integer | :infinity
  def room(%__MODULE__{held: true}), do: 0
  def room(%__MODULE__{rounds: 0}), do: :infinity
  def room(_backoff), do: 1

  @doc "Whether callers are to be told."
  @spec hopeless?(t) :: boolean
  def hopeless?(backoff), do: backoff.failures >= @patience

  defp hold(%__MODULE__{held: true} = backoff), do: {nil, backoff}

  defp hold(backoff) do
    delay = min(@longest, @first * Integer.pow(2, min(backoff.rounds, 10)))
    half = div(delay, 2)
    {half + :rand.uniform(half), %{backoff | rounds: backoff.rounds + 1, held: true}}
  end
end
