defmodule Slither.Pool.Staff.Backoff do
  @moduledoc false
  # How long a pool whose workers can't start waits before it tries again, and when it refuses
  # callers. Pure; called by `Slither.Pool.Upkeep`.

  # ms of the first pause; each doubles the one before.
  @first 100
  @longest 10_000
  # Failed starts in a row after which callers are refused, with the reason.
  @patience 3
  # Workers in a row that end as soon as they are ready.
  # This one, and each after it, counts as a failed start.
  @patience_when_ready 3

  defstruct failures: 0, rounds: 0, flaps: 0, held: false

  @typedoc """
  `failures` are starts in a row that failed, `rounds` pauses since a worker was ready and stayed,
  and `flaps` workers in a row that ended at once. `held` says that a pause is under way.
  """
  @type t :: %__MODULE__{
          failures: non_neg_integer,
          rounds: non_neg_integer,
          flaps: non_neg_integer,
          held: boolean
        }

  @doc "A start failed. Returns the ms to pause, or nil where a pause is under way."
  @spec failed(t) :: {pos_integer | nil, t}
  def failed(backoff), do: hold(%{backoff | failures: backoff.failures + 1})

  @doc """
  A worker has ended; `early?` says that it had been ready for a moment only, and had run nothing.

  Returns the ms to pause before another starts, nil for none.
  """
  @spec ended(t, boolean) :: {pos_integer | nil, t}
  def ended(backoff, false), do: {nil, %{backoff | flaps: 0}}

  def ended(%__MODULE__{flaps: flaps} = backoff, true) when flaps + 1 < @patience_when_ready,
    do: {nil, %{backoff | flaps: flaps + 1}}

  def ended(backoff, true), do: hold(%{backoff | flaps: backoff.flaps + 1})

  @doc "A worker is ready. Where workers end at once, that ends no round of pauses."
  @spec ready(t) :: t
  def ready(%__MODULE__{flaps: flaps} = backoff) when flaps >= @patience_when_ready,
    do: %{backoff | failures: 0}

  def ready(backoff), do: %{backoff | failures: 0, rounds: 0}

  @doc "The pause is over, or somebody wants to know now whether workers start."
  @spec retry(t) :: t
  def retry(backoff), do: %{backoff | held: false}

  @doc "How many workers may be starting at a time. After a failure one tries whether it can."
  @spec room(t) :: non_neg_integer | :infinity
  def room(%__MODULE__{held: true}), do: 0
  def room(%__MODULE__{rounds: 0}), do: :infinity
  def room(_backoff), do: 1

  @doc "Whether callers are to be refused."
  @spec hopeless?(t) :: boolean
  def hopeless?(backoff), do: backoff.failures >= @patience

  defp hold(%__MODULE__{held: true} = backoff), do: {nil, backoff}

  defp hold(backoff) do
    delay = min(@longest, @first * Integer.pow(2, min(backoff.rounds, 10)))
    half = div(delay, 2)
    {half + :rand.uniform(half), %{backoff | rounds: backoff.rounds + 1, held: true}}
  end
end
