defmodule Slither.Rate.Bucket do
  @moduledoc false
  # A token bucket with a line of those who wait for tokens. Pure, with the time given in ms; held by
  # `Slither.Rate.Server`.
  #
  # Tokens are counted in whole units, of which a token has `per`: so `items` of them come in each ms,
  # and nothing is lost by rounding. Callers are served by turns, by how much each has taken: a request
  # is tagged with where its caller's last one ended, or with the tag that was served last if that is
  # more, and the lowest tag goes first. So requests of one caller keep their order, each caller gets
  # its share of the tokens, and who has not asked for a while has saved up nothing.

  @enforce_keys [:items, :per, :burst, :level, :at]
  defstruct @enforce_keys ++
              [:paused, line: :gb_sets.empty(), asked: %{}, ends: %{}, tag: 0, seq: 0]

  @typedoc """
  `level` is what there is at the time `at`, in units, and below 0 where a request was larger than the
  bucket. Until `paused` it neither gives nor gathers. `asked` are the requests that wait, and `line`
  their order; `ends` says where the last request of a caller ended, with its reference, and `tag` is that served last.
  """
  @type t :: %__MODULE__{
          items: pos_integer,
          per: pos_integer,
          burst: pos_integer,
          level: integer,
          at: integer,
          paused: integer | nil,
          line: :gb_sets.set({tag :: number, seq :: non_neg_integer, reference}),
          asked: %{optional(reference) => request},
          ends: %{optional(caller) => {number, reference | nil}},
          tag: number,
          seq: non_neg_integer
        }
  @type caller :: term
  @type weight :: number
  @typep request :: {caller, weight, place :: {number, non_neg_integer, reference}}

  @doc "A full bucket."
  @spec new(map, integer) :: t
  def new(%{items: items, per: per, burst: burst}, now),
    do: %__MODULE__{items: items, per: per, burst: burst, level: burst * per, at: now}

  @doc "A caller asks for tokens; `grant/2` says when it has them."
  @spec ask(t, reference, caller, weight, integer) :: t
  def ask(bucket, ref, caller, weight, now) do
    bucket = fill(bucket, now)
    {ended, _ref} = Map.get(bucket.ends, caller, {0, nil})
    tag = max(bucket.tag, ended)
    place = {tag, bucket.seq, ref}

    tidy(%{
      bucket
      | seq: bucket.seq + 1,
        line: :gb_sets.add_element(place, bucket.line),
        asked: Map.put(bucket.asked, ref, {caller, weight, place}),
        ends: Map.put(bucket.ends, caller, {tag + weight, ref})
    })
  end

  # An end that is not beyond the tag says nothing.
  defp tidy(%__MODULE__{ends: ends, asked: asked, tag: tag} = bucket)
       when map_size(ends) > 2 * map_size(asked) + 64,
       do: %{bucket | ends: Map.filter(ends, fn {_caller, {ended, _ref}} -> ended > tag end)}

  defp tidy(bucket), do: bucket

  @doc "Takes a request back; nil where none of that reference waits, as it was granted before."
  @spec cancel(t, reference) :: t | nil
  def cancel(bucket, ref) do
    case Map.pop(bucket.asked, ref) do
      {nil, _asked} ->
        nil

      {{caller, _weight, place}, asked} ->
        line = :gb_sets.del_element(place, bucket.line)
        %{bucket | asked: asked, line: line, ends: taken_back(bucket.ends, caller, place)}
    end
  end

  # What it asked for last, it need not make up for.
  defp taken_back(ends, caller, {tag, _seq, ref}) do
    case ends do
      %{^caller => {_ended, ^ref}} -> %{ends | caller => {tag, nil}}
      _others -> ends
    end
  end

  @doc "A caller is gone, with all that it has asked for."
  @spec drop(t, caller) :: t
  def drop(bucket, caller) do
    refs = for {ref, {^caller, _weight, _place}} <- bucket.asked, do: ref
    bucket = Enum.reduce(refs, bucket, &cancel(&2, &1))
    %{bucket | ends: Map.delete(bucket.ends, caller)}
  end

  @doc "The requests whose turn it is and that there are tokens for."
  @spec grant(t, integer) :: {[{reference, weight}], t}
  def grant(bucket, now), do: bucket |> fill(now) |> grant(now, [])

  defp grant(bucket, now, granted) do
    with false <- paused?(bucket, now) or :gb_sets.is_empty(bucket.line),
         {{tag, _seq, ref}, line} = :gb_sets.take_smallest(bucket.line),
         {{_caller, weight, _place}, asked} = Map.pop!(bucket.asked, ref),
         true <- need(bucket, weight) <= bucket.level do
      level = bucket.level - units(bucket, weight)
      bucket = %{bucket | line: line, asked: asked, tag: tag, level: level}
      grant(bucket, now, [{ref, weight} | granted])
    else
      _wait -> {Enum.reverse(granted), bucket}
    end
  end

  # A request that is larger than the bucket goes when that is full, and leaves it in debt.
  defp need(bucket, weight), do: min(units(bucket, weight), full(bucket))

  @doc "When the next request can be granted; nil where none waits."
  @spec due(t) :: integer | nil
  def due(bucket) do
    if :gb_sets.is_empty(bucket.line) do
      nil
    else
      {_tag, _seq, ref} = :gb_sets.smallest(bucket.line)
      {_caller, weight, _place} = bucket.asked[ref]
      missing = max(0, need(bucket, weight) - bucket.level)
      max(bucket.at, bucket.paused || bucket.at) + ceil_div(missing, bucket.items)
    end
  end

  @doc "Tokens that were granted and not used come back."
  @spec give_back(t, weight, integer) :: t
  def give_back(bucket, weight, now) do
    bucket = fill(bucket, now)
    %{bucket | level: min(full(bucket), bucket.level + units(bucket, weight))}
  end

  @doc "Nothing is given for so many ms; true where that is longer than it was to be already."
  @spec pause(t, non_neg_integer, integer) :: {boolean, t}
  def pause(bucket, time, now) do
    bucket = fill(bucket, now)
    until = now + time

    if until > now and until > (bucket.paused || now),
      do: {true, %{bucket | paused: until}},
      else: {false, bucket}
  end

  @doc "How many requests wait, and tokens there are; and for how many ms more it is paused."
  @spec status(t, integer) :: %{
          waiting: non_neg_integer,
          tokens: float,
          paused: non_neg_integer
        }
  def status(bucket, now) do
    bucket = fill(bucket, now)

    %{
      waiting: map_size(bucket.asked),
      tokens: bucket.level / bucket.per,
      paused: max(0, (bucket.paused || now) - now)
    }
  end

  defp paused?(%__MODULE__{paused: nil}, _now), do: false
  defp paused?(%__MODULE__{paused: until}, now), do: now < until

  # What has come since it was looked at last.
  defp fill(%__MODULE__{paused: until} = bucket, now) when until != nil do
    if now < until,
      do: stopped(bucket, now),
      else: fill(%{bucket | paused: nil, at: max(bucket.at, until)}, now)
  end

  defp fill(%__MODULE__{at: at} = bucket, now) when now <= at, do: bucket

  defp fill(bucket, now) do
    level = min(full(bucket), bucket.level + (now - bucket.at) * bucket.items)
    %{bucket | level: level, at: now}
  end

  defp stopped(bucket, now), do: %{bucket | at: max(bucket.at, now)}

  defp full(bucket), do: bucket.burst * bucket.per
  defp units(bucket, weight), do: ceil(weight * bucket.per)
  defp ceil_div(number, by), do: div(number + by - 1, by)
end
