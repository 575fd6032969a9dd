defmodule Slither.Run.AutoSize do
  @moduledoc false
  # Finds the batch size whose handler time is near a target, for `batch_size: :auto`. The size begins
  # at the smallest and at most doubles with each answer, so that a slow handler does not get a large
  # batch. Pure; part of a flow.

  @enforce_keys [:target, :min, :max, :size]
  defstruct [:target, :min, :max, :size, :per_item]

  # The weight of the newest answer in the moving average of the time that an item takes.
  @weight 0.3

  @typedoc "`target` and `per_item` are in native time units; `size` is what it has found so far."
  @type t :: %__MODULE__{
          target: pos_integer,
          min: pos_integer,
          max: pos_integer,
          size: pos_integer,
          per_item: float | nil
        }

  @doc "A search of checked dispatch options."
  @spec new(keyword) :: t
  def new(options) do
    min = options[:min_batch_size]

    %__MODULE__{
      target: System.convert_time_unit(options[:batch_time], :millisecond, :native),
      min: min,
      max: max(min, options[:max_batch_size]),
      size: min
    }
  end

  @doc "Takes the handler time of a batch of `count` items."
  @spec measured(t, non_neg_integer, pos_integer) :: t
  def measured(auto, handler, count) do
    now = handler / count
    per_item = if auto.per_item, do: auto.per_item + @weight * (now - auto.per_item), else: now
    ideal = if per_item > 0, do: trunc(min(auto.target / per_item, auto.max)), else: auto.max
    size = ideal |> min(2 * max(auto.size, 1)) |> max(auto.min) |> min(auto.max)
    # A batch that was not full is no evidence for a larger size.
    size = if size > auto.size and count < auto.size, do: auto.size, else: size
    %{auto | per_item: per_item, size: size}
  end
end
