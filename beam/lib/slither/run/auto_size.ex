defmodule Slither.Run.AutoSize do
  @moduledoc false
  # Finds the batch size that takes a worker near a target time, for `batch_size: :auto`. The size
  # begins at the smallest, and grows only as far as answers have shown that items are quick: so a
  # slow handler gets no large batch. Pure; part of a flow.

  alias Slither.Protocol.Block
  alias Slither.Python.Timing
  alias Slither.Run.Batch

  @enforce_keys [:target, :min, :max, :size]
  defstruct [:target, :min, :max, :size, :per_item, :bytes, ahead?: true, growing?: true]

  # The weight of the newest answer in the moving averages.
  @weight 0.3
  # How many times as large as a batch that was answered the next may be, at most and at least.
  @leap 64
  @step 2
  # What a batch and its results may have together, so that large items make small batches.
  @most_bytes 4_194_304
  # Less than such a part of the target is hardly worth a call. So where few items are left, a batch
  # need not take less: workers then end within as small a part of the target of each other.
  @crumb 25

  @typedoc """
  `target` is in native time units, as is `per_item`, what an item has taken; `bytes` are those of
  an item and its result. `size` is what it has found so far; it is `growing?` while
  answers have not shown yet how large it may be. `ahead?` says whether items may wait beside those of the batches
  that are out.
  """
  @type t :: %__MODULE__{
          target: pos_integer,
          min: pos_integer,
          max: pos_integer,
          size: pos_integer,
          per_item: float | nil,
          bytes: float | nil,
          ahead?: boolean,
          growing?: boolean
        }

  @doc "A search of checked dispatch options."
  @spec new(keyword) :: t
  def new(options) do
    min = options[:min_batch_size]

    %__MODULE__{
      target: System.convert_time_unit(options[:batch_time], :millisecond, :native),
      min: min,
      max: max(min, options[:max_batch_size]),
      size: min,
      ahead?: options[:max_in_flight_bytes] == nil
    }
  end

  @doc "Takes in the answer to a batch, if there is a search and the answer says how long it took."
  @spec answered(t | nil, Batch.t(), Timing.t() | nil) :: t | nil
  def answered(nil, _batch, _timing), do: nil
  def answered(auto, _batch, nil), do: auto
  # A batch of items that could not be sent says nothing of how long the handler takes.
  def answered(auto, _batch, %Timing{handler: 0}), do: auto

  def answered(auto, batch, timing) do
    time = timing.handler + timing.encode + timing.decode
    measured(auto, time, items(batch), timing.bytes + timing.result_bytes)
  end

  defp items(%Batch{entries: [{_seq, %{payload: %Block{count: count}}}]}), do: count
  defp items(batch), do: Batch.size(batch)

  @doc "Takes in how long a batch of `count` items took, and the bytes of it and its results."
  @spec measured(t, non_neg_integer, pos_integer, non_neg_integer) :: t
  def measured(auto, time, count, bytes \\ 0) do
    per_item = average(auto.per_item, time / count)
    each = average(auto.bytes, bytes / count)
    ideal = min(ideal(auto.target, per_item, auto.max), ideal(@most_bytes, each, auto.max))
    # Batches that were not full are no evidence for a much larger size.
    growth = if count < auto.size, do: @step, else: growth(auto.target, time)
    shown = max(auto.size, growth * count)
    size = ideal |> min(shown) |> max(auto.min) |> min(auto.max)
    %{auto | per_item: per_item, bytes: each, size: size, growing?: shown < ideal}
  end

  # As many times as large as its time is below what leaves it so far from the target once more: items
  # may take that many times as long as those before, and are in time.
  defp growth(target, time),
    do: (target / max(time, 1)) |> :math.sqrt() |> trunc() |> max(@step) |> min(@leap)

  defp average(nil, now), do: now
  defp average(before, now), do: before + @weight * (now - before)

  defp ideal(target, per_item, most) when per_item * most <= target, do: most
  defp ideal(target, per_item, _most), do: trunc(target / per_item)

  @doc """
  How many items would take the target time: more than `size` once that is the largest that there may
  be. Who makes the batches sees by it what is worth a call.
  """
  @spec whole(t) :: pos_integer
  def whole(%__MODULE__{size: most, max: most, growing?: false, per_item: per_item} = auto)
      when per_item != nil do
    quick = min(auto.target / max(per_item, 1), @most_bytes / max(auto.bytes, 1))
    quick |> trunc() |> max(most)
  end

  def whole(auto), do: auto.size

  @doc "How many items are so many that each worker can have a batch of the size that was found."
  @spec enough(t, pos_integer) :: pos_integer
  def enough(%__MODULE__{ahead?: true, size: size}, workers), do: size * workers
  def enough(auto, _workers), do: auto.size

  @doc "How many items it is good to have at hand: enough still after the next batch."
  @spec reach(t, pos_integer) :: pos_integer
  def reach(%__MODULE__{ahead?: true} = auto, workers), do: auto.size + enough(auto, workers)
  def reach(auto, workers), do: enough(auto, workers)

  @doc """
  The size of the next batch, of `count` items that are at hand for so many workers: none gets more
  than its share, unless that would make batches that are not worth a call.
  """
  @spec share(t, pos_integer, pos_integer) :: pos_integer
  def share(auto, count, workers) do
    share = div(count + workers - 1, workers)
    share |> max(crumbs(auto)) |> max(auto.min) |> min(auto.size)
  end

  defp crumbs(%__MODULE__{per_item: nil}), do: 1
  defp crumbs(auto), do: ideal(auto.target / @crumb, auto.per_item, auto.max)

  @doc "Whether so many items are known to be worth a call, or nothing is known yet."
  @spec worth?(t, non_neg_integer) :: boolean
  def worth?(auto, count), do: count >= crumbs(auto)
end
