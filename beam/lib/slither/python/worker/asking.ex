defmodule Slither.Python.Worker.Asking do
  @moduledoc false
  # A worker is asked where it is: how long its owner waits for the answer, when it forces one, and what
  # the answer is for. Pure; `Slither.Python.Worker.Stacks` asks and looks, in the process of the
  # worker's owner.
  #
  # An answer that is forced, by the signal, reads frames that may change meanwhile, which has crashed
  # processes. One that is to be killed may crash. For who only wants to know, it is forced
  # where somebody is sure to hold the interpreter's lock all the time: though the worker has
  # used much time of its cores, and a lock that others want is given away each 5 ms; or though
  # it uses none.

  alias Slither.Error
  alias Slither.Python.Obituary.StackMemory

  # The longest pause between two looks, in ms as all here.
  @pause 8
  # How long a process that is to be killed gets for an answer before one is forced; where it has to
  # wait for a core; and the forced one.
  @patience 25
  @busy 500
  # For who only wants to know: the time of cores after which the lock is sure to be held; how long a
  # process may do nothing, and how little that is; and after how long there is no answer.
  @used 500
  @still 250
  @nothing 10
  @most 2_000

  @enforce_keys [:call, :began, :used]
  defstruct [:call, :began, :used, :signal, :forced, pause: 1, kills: [], from: []]

  @typedoc """
  What the process is to be killed for, unless that is over by then: a call that runs, what a call is
  at, a start that takes too long, or a stop; or the memory that a call took, which is never over.
  """
  @type cause ::
          {:call | :memory, pos_integer} | {:item, pos_integer, term} | :starting | :stopping
  @typedoc """
  `call` was running when the process was asked, at `began`, nil for none; it had `used` so much time
  of its cores. An answer was `forced` at a time, by a `signal`. `kills` are the errors with which
  the process is to end, the first one first; `from` are those who only want to know.
  """
  @type t :: %__MODULE__{
          call: pos_integer | nil,
          began: integer,
          used: non_neg_integer,
          signal: pos_integer | nil,
          forced: integer | nil,
          pause: pos_integer,
          kills: [{Error.t(), cause}],
          from: [GenServer.from()]
        }

  @doc """
  What comes next: to look again after so many ms, to force an answer and look again, or there is no
  more to come. `used` gives the time of cores that the process has had.
  """
  @spec look(t, StackMemory.progress(), integer, (() -> non_neg_integer)) ::
          {:again | :force, pos_integer, t} | :over
  def look(asking, progress, now, used) do
    case next(asking, progress, now - (asking.forced || asking.began), used) do
      :over -> :over
      :again -> {:again, asking.pause, %{asking | pause: min(2 * asking.pause, @pause)}}
      :force -> {:force, 1, %{asking | pause: 1, forced: now}}
    end
  end

  defp next(_asking, progress, _time, _used) when progress in [:answered, :never], do: :over

  # The guard's shell may have to wait for a core before it sends the signal.
  defp next(%__MODULE__{forced: forced}, _progress, time, _used) when forced != nil,
    do: if(time < @busy, do: :again, else: :over)

  defp next(%__MODULE__{kills: [_ | _]}, progress, time, _used),
    do: if(time < patience(progress), do: :again, else: :force)

  defp next(_asking, _progress, time, _used) when time >= @most, do: :over
  defp next(_asking, _progress, time, _used) when time < @still, do: :again
  defp next(_asking, :waits, _time, _used), do: :again

  defp next(asking, :locked, _time, used) do
    used = used.() - asking.used
    if used >= @used or used <= @nothing, do: :force, else: :again
  end

  defp patience(:locked), do: @patience
  defp patience(:waits), do: @busy

  @doc """
  What becomes of the process, by which causes still `hold?`: it goes on, it is killed, or it has to be
  asked again, since another call runs than the one that is told of.
  """
  @spec settle(t, (cause -> boolean)) ::
          :go_on | {:kill, {Error.t(), cause}} | {:again, [{Error.t(), cause}]}
  def settle(%__MODULE__{call: call} = asking, hold?) do
    case Enum.filter(asking.kills, fn {_error, cause} -> hold?.(cause) end) do
      [] -> :go_on
      [{_error, {:call, id}} | _] = kills when id != call -> {:again, kills}
      [{_error, {:item, id, _what}} | _] = kills when id != call -> {:again, kills}
      [why | _] -> {:kill, why}
    end
  end
end
