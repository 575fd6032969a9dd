defmodule Slither.Pool.Lanes do
  @moduledoc false
  # The serving workers and their lanes, by slot. Tells which worker is the least busy, and which
  # has the most room for a session. Pure; held by the ledger, in the scheduler.

  defmodule Worker do
    @moduledoc false
    # What the ledger knows of a worker that is ready.
    @enforce_keys [:pid, :lanes, :free, :left]
    defstruct [:pid, :lanes, :free, :left, leased: 0, taken: 0, draining: false]

    @typedoc """
    All its `lanes` and those that are `free`; how many are `leased`, how many were so far
    (`taken`), and how many calls more it may take (`left`). One that is `draining` gets no more calls, but those of its sessions.
    """
    @type t :: %__MODULE__{
            pid: pid,
            lanes: [pid],
            free: [pid],
            left: non_neg_integer | :infinity,
            leased: non_neg_integer,
            taken: non_neg_integer,
            draining: boolean
          }
  end

  @type slot :: non_neg_integer
  @type t :: %{optional(slot) => Worker.t()}

  @doc "A worker whose lanes are all free, and that takes `max_calls`, or as many as come for nil."
  @spec put(t, slot, pid, [pid], pos_integer | nil) :: t
  def put(workers, slot, pid, lanes, max_calls) do
    worker = %Worker{pid: pid, lanes: lanes, free: lanes, left: max_calls || :infinity}
    Map.put(workers, slot, worker)
  end

  @doc "The slot of a worker."
  @spec slot(t, pid) :: slot | nil
  def slot(workers, pid),
    do: Enum.find_value(workers, fn {slot, worker} -> if worker.pid == pid, do: slot end)

  @doc """
  The slot of the worker for the next call that any may take. `quick?` says of a busy worker
  whether so many calls are short enough to queue another behind them.
  """
  @spec least_busy(t, (slot, pos_integer -> boolean)) :: slot | nil
  def least_busy(workers, quick?) do
    workers
    |> Enum.filter(fn {slot, worker} -> open?(worker, slot, quick?) end)
    |> Enum.min_by(fn {slot, worker} -> {worker.leased, slot} end, fn -> {nil, nil} end)
    |> elem(0)
  end

  @doc "That they are short enough, whatever is known of them."
  @spec always(slot, pos_integer) :: true
  def always(_slot, _calls), do: true

  @doc "That they are not, for who must not wait behind another call."
  @spec never(slot, pos_integer) :: false
  def never(_slot, _calls), do: false

  defp open?(%Worker{free: []}, _slot, _quick?), do: false
  defp open?(%Worker{draining: true}, _slot, _quick?), do: false
  defp open?(%Worker{left: 0}, _slot, _quick?), do: false
  defp open?(%Worker{leased: 0}, _slot, _quick?), do: true
  defp open?(%Worker{leased: leased}, slot, quick?), do: quick?.(slot, leased)

  @doc "The worker for the next session, `except` one; `load` says how many sessions one has."
  @spec roomiest(t, (pid -> non_neg_integer), pid | nil) :: pid | nil
  def roomiest(workers, load, except) do
    workers
    |> Enum.reject(fn {_slot, w} -> w.draining or w.left == 0 or w.pid == except end)
    |> Enum.min_by(
      fn {slot, worker} -> {load.(worker.pid), worker.leased, slot} end,
      fn -> {nil, %{pid: nil}} end
    )
    |> then(fn {_slot, worker} -> worker.pid end)
  end

  @doc "The workers that take no more calls, and have no lane out, but for those that drain."
  @spec spent(t) :: [slot]
  def spent(workers),
    do: for({slot, %Worker{left: 0, leased: 0, draining: false}} <- workers, do: slot)

  @doc "A free lane of a worker is leased; `counts?` says whether for a call of those it may take."
  @spec lease(t, slot, boolean) :: {lane :: pid, t}
  def lease(workers, slot, counts?) do
    %Worker{free: [lane | free], leased: leased, left: left} = worker = workers[slot]
    left = if counts? and is_integer(left), do: max(left - 1, 0), else: left
    worker = %{worker | free: free, leased: leased + 1, taken: worker.taken + 1, left: left}
    {lane, %{workers | slot => worker}}
  end

  @doc "A lane comes back to its worker."
  @spec give_back(t, slot, pid) :: t
  def give_back(workers, slot, lane) do
    worker = workers[slot]
    %{workers | slot => %{worker | free: [lane | worker.free], leased: worker.leased - 1}}
  end

  @doc "A lane is no more; returns its worker."
  @spec lose(t, pid) :: {pid | nil, t}
  def lose(workers, lane) do
    case Enum.find(workers, fn {_slot, worker} -> lane in worker.lanes end) do
      nil ->
        {nil, workers}

      {slot, %Worker{} = worker} ->
        leased = if lane in worker.free, do: worker.leased, else: worker.leased - 1
        lanes = List.delete(worker.lanes, lane)
        worker = %{worker | lanes: lanes, free: List.delete(worker.free, lane), leased: leased}
        {worker.pid, %{workers | slot => worker}}
    end
  end
end
