defmodule Slither.Python.Usage do
  @moduledoc false
  # How much of its time a worker is at a call. Pure: `Slither.Python.Board` keeps the numbers made
  # here, one for each question, so that any process reads one of them whole, without a message. The
  # worker's owner turns them as calls begin and end. All times are in native units.
  #
  # The lowest bit of each number says whether the worker is at a call. The rest says the answer for
  # any moment to come, as long as that does not change:
  #
  #   * of its time at calls in all: that time while it is at none; while it is at one, that time
  #     less the moment it began;
  #   * of its share of the last seconds, in which older ones count less by a power of e: the share
  #     falls to 0, or what it lacks of 1 does, as e^-x. The number is the moment at which that
  #     would have been 1.

  import Bitwise

  # The seconds that count e times less than those that follow them: of the last ten, 86 % of all.
  @fades 5.0
  # A share that is as good as none, as its logarithm is needed.
  @least 1.0e-12
  # Beyond so many times `@fades`, nothing is left.
  @gone 40.0

  @typedoc "Zero is that of a worker that was never at a call."
  @type t :: integer

  @doc "The time at calls after a turn, by what it was before."
  @spec turn_time(t, boolean, integer) :: t
  def turn_time(number, busy?, now) do
    time = time(number, now)
    if busy?, do: (time - now) <<< 1 ||| 1, else: time <<< 1
  end

  @doc """
  The time at calls until `now`.

      iex> alias Slither.Python.Usage
      iex> number = Usage.turn_time(0, true, -500)
      iex> Usage.time(number, -400)
      100
      iex> number |> Usage.turn_time(false, -400) |> Usage.time(-100)
      100
  """
  @spec time(t, integer) :: integer
  def time(number, now), do: if(busy?(number), do: (number >>> 1) + now, else: number >>> 1)

  @doc "Whether it is at a call."
  @spec busy?(t) :: boolean
  def busy?(number), do: (number &&& 1) == 1

  @doc "The share after a turn, by what it was before."
  @spec turn_share(t, boolean, integer) :: t
  def turn_share(number, busy?, now) do
    share = share(number, now)
    left = if busy?, do: 1.0 - share, else: share
    moment = now + round(fades() * :math.log(max(left, @least)))
    moment <<< 1 ||| if(busy?, do: 1, else: 0)
  end

  @doc """
  The share of the last seconds that it was at calls, from 0 to 1.

      iex> alias Slither.Python.Usage
      iex> seconds = &System.convert_time_unit(&1, :second, :native)
      iex> number = Usage.turn_share(0, true, seconds.(-100))
      iex> for s <- [-100, -95, -90, -60], do: number |> Usage.share(seconds.(s)) |> Float.round(2)
      [0.0, 0.63, 0.86, 1.0]
  """
  @spec share(t, integer) :: float
  def share(0, _now), do: 0.0

  def share(number, now) do
    left = left(max(now - (number >>> 1), 0) / fades())
    if busy?(number), do: 1.0 - left, else: left
  end

  defp left(times) when times > @gone, do: 0.0
  defp left(times), do: :math.exp(-times)

  defp fades, do: @fades * System.convert_time_unit(1, :second, :native)
end
