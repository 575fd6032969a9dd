defmodule Slither.Receipt.Bottleneck do
  @moduledoc false
  # What holds a run up, by where its time went. The one rule of it, for receipts in both languages and
  # for whoever looks at a run that goes on. Pure; it takes receipts, or plain maps that have as much.
  #
  # Stages on BEAM run in the run's own process, one after another: where they take most of the run's
  # time, the longest of them is the narrowest stage. Else it is the one that its batches are at for
  # longest, waits for its workers among that. What its calls take most of says what to do. If all
  # stages together have next to nothing to do, none of them is narrow.

  alias Slither.Receipt.Words

  # Calls that go on at once, on average, below which nothing but the input can hold a run up; and the
  # share of a run's time that its own process may spend on handlers before these hold it up.
  @idle 0.5
  @own 0.5

  @enforce_keys [:what, :share]
  defstruct [:what, :share, :stage, :waits, beam?: false]

  @typedoc """
  `what` is the phase of `stage` that takes longest: the `:handler`, the `:values` (both sides' encoding
  and decoding), the `:wire`, the waits for the `:turn` of a batch, for `:workers` that others use, or
  for the tokens of its `:rate`.
  Or it is the `:input`: then there is no stage. `share` is the phase's of the time at the stage, without
  waits; of the `:input`, the part of the run's time in which a call went on. `waits` is how long batches
  waited for a worker, as a share of the time that calls took. With `beam?` the stage's handler runs on
  BEAM, in the run's own process.
  """
  @type t :: %__MODULE__{
          what: :handler | :values | :wire | :turn | :workers | :rate | :input,
          share: float,
          stage: term,
          waits: float | nil,
          beam?: boolean
        }
  @type times :: %{optional(atom) => number}

  @doc """
  What holds a run up, nil where nothing was measured: of its receipt, or of a map of its `times`,
  `duration`, `name`, `batches` and `stages`, a list of names with as much of each.
  """
  @spec of(map) :: t | nil
  def of(%{stages: [_ | _] = stages, duration: duration}), do: among(stages, duration)
  def of(%{name: name, duration: duration} = receipt), do: among([{name, receipt}], duration)

  defp among(stages, duration) do
    times = for {_name, stage} <- stages, do: stage.times
    working = times |> Enum.map(&work/1) |> Enum.sum()
    waiting = times |> Enum.map(&(&1.queue + rate(&1))) |> Enum.sum()

    cond do
      duration <= 0 or working <= 0 -> nil
      working + waiting < @idle * duration -> %__MODULE__{what: :input, share: working / duration}
      true -> stages |> narrow(duration) |> stage(duration)
    end
  end

  defp narrow(stages, duration) do
    {own, others} = Enum.split_with(stages, fn {_name, stage} -> stage.batches == 0 end)
    spent = own |> Enum.map(fn {_name, stage} -> work(stage.times) end) |> Enum.sum()
    stages = if others == [] or spent >= @own * duration, do: own, else: others
    Enum.max_by(stages, fn {_name, stage} -> at(stage.times) end)
  end

  @doc "The stage that holds a run up; nil where it is the input, or nothing was measured."
  @spec narrowest([{name, map}], number) :: name | nil when name: term
  def narrowest(stages, duration) do
    with %__MODULE__{stage: name} <- among(stages, duration), do: name
  end

  defp stage({name, %{times: times} = stage}, duration) do
    work = work(times)
    values = times.encode + times.decode
    parts = [handler: times.handler, values: values, wire: times.wire]
    {what, most} = Enum.max_by(parts, &elem(&1, 1))

    {what, most} =
      cond do
        rate(times) > work + times.queue -> {:rate, rate(times)}
        times.reorder > 2 * (work + times.queue) -> {:turn, times.reorder}
        work < @idle * duration and times.queue > work -> {:workers, times.queue}
        true -> {what, most}
      end

    %__MODULE__{
      what: what,
      stage: name,
      share: most / if(what in [:turn, :workers, :rate], do: most + work, else: work),
      waits: times.queue / max(work, 1),
      beam?: stage.batches == 0
    }
  end

  # What a stage does for its batches, and with the waits for it.
  defp work(times), do: times.encode + times.wire + times.handler + times.decode
  defp at(times), do: work(times) + times.queue + rate(times)
  defp rate(times), do: Map.get(times, :rate, 0)

  @doc "A sentence that names it, and what to try."
  @spec sentence(t | nil) :: String.t()
  def sentence(nil), do: "bottleneck: nothing was measured"

  def sentence(%__MODULE__{what: :input, share: share}) do
    "bottleneck: no stage, as a call went on for #{Words.share(share)} of the time; " <>
      "try a faster input, or read the results faster"
  end

  def sentence(bottleneck) do
    "bottleneck: #{named(bottleneck)} (#{Words.share(bottleneck.share)} of its time)" <>
      "#{waits(bottleneck)}; try #{hint(bottleneck)}"
  end

  defp named(%{what: :handler, stage: name}), do: "the handler#{of_stage(name)}"
  defp named(%{what: :values, stage: name}), do: "encoding and decoding#{of_stage(name)}"
  defp named(%{what: :wire, stage: name}), do: "the way to the worker and back#{of_stage(name)}"
  defp named(%{what: :turn, stage: name}), do: "the wait for the turn of a batch#{of_stage(name)}"
  defp named(%{what: :workers, stage: name}), do: "the wait for a worker#{of_stage(name)}"

  defp named(%{what: :rate, stage: name}), do: "the rate limit#{of_stage(name)}"

  defp of_stage(nil), do: ""
  defp of_stage(name), do: " of #{name}"

  # Where batches wait less than their calls take, workers are enough.
  defp waits(%{what: what, waits: waits}) when what in [:turn, :workers, :rate] or waits < 1,
    do: ""

  defp waits(%{waits: waits}), do: ", and batches wait #{Words.times(waits)} as long for a worker"

  defp hint(%{what: :handler, beam?: true}),
    do: "concurrency: for it, if it waits for others, or a faster function"

  defp hint(%{what: :handler, waits: waits}) when waits >= 1,
    do: "more workers, up to the cores, or a faster function"

  defp hint(%{what: :handler}), do: "a faster function, or more batches at once (max_in_flight:)"

  defp hint(%{what: :values}),
    do: "less data in each item, or arrays and Arrow tables in place of lists and maps"

  defp hint(%{what: :rate}),
    do: "a higher rate:, if the other side takes it; more workers change nothing"

  defp hint(%{what: :wire}), do: "larger batches (batch_size: :auto)"
  defp hint(%{what: :turn}), do: "smaller batches, or ordering: :as_completed"

  defp hint(%{what: :workers}),
    do:
      "more workers or cores, or a pool of its own: others have these, they still start, or a session goes one by one"
end
