defmodule Slither.Python.Worker.Asking do
  @moduledoc false
  # A worker is asked where it is: how long its owner waits for the answer, and what the answer is
  # for. Pure; `Slither.Python.Worker.Stacks` asks and looks, in the process of the worker's owner.

  alias Slither.Error
  alias Slither.Python.Obituary.StackMemory

  # ms that a process gets to answer, and one that computes: on a busy machine it may have to wait
  # for a core. The longest pause between two looks.
  @patience 50
  @busy 500
  @pause 8

  @enforce_keys [:call, :asked, :began]
  defstruct [:call, :asked, :began, pause: 1, kills: [], from: []]

  @typedoc """
  What the process is to be killed for, unless that is over by then: a call that runs, a start that
  takes too long, or a stop.
  """
  @type cause :: {:call, pos_integer} | :starting | :stopping
  @typedoc """
  `call` was running when the process was `asked`, at `began`; nil for none. `kills` are the errors with
  which the process is to end, the first one first; `from` are those who only want to know.
  """
  @type t :: %__MODULE__{
          call: pos_integer | nil,
          asked: StackMemory.asked(),
          began: integer,
          pause: pos_integer,
          kills: [{Error.t(), cause}],
          from: [GenServer.from()]
        }

  @doc "Whether to look again, after how many ms; or there is no more to come."
  @spec look(t, StackMemory.progress(), integer) :: {:again, pos_integer, t} | :over
  def look(asking, progress, now) do
    if left(progress) > now - asking.began,
      do: {:again, asking.pause, %{asking | pause: min(2 * asking.pause, @pause)}},
      else: :over
  end

  defp left(:computes), do: @busy
  defp left(:waits), do: @patience
  defp left(_over), do: 0

  @doc """
  What becomes of the process, by which causes still `hold?`: it goes on, it is killed, or it has to be
  asked again, since another call runs than the one that is told of.
  """
  @spec settle(t, (cause -> boolean)) ::
          :go_on | {:kill, Error.t()} | {:again, [{Error.t(), cause}]}
  def settle(%__MODULE__{call: call} = asking, hold?) do
    case Enum.filter(asking.kills, fn {_error, cause} -> hold?.(cause) end) do
      [] -> :go_on
      [{_error, {:call, id}} | _] = kills when id != call -> {:again, kills}
      [{error, _cause} | _] -> {:kill, error}
    end
  end
end
