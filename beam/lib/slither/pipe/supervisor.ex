defmodule Slither.Pipe.Supervisor do
  @moduledoc """
  Where long-running pipes stand that have no other place.

      {:ok, _pid} = Slither.Pipe.Supervisor.start_pipe(MyApp.ScorePipe, sinks: [accept: &save/1])

  It starts with Slither, after the pools, which the pipes need: when Slither stops, the pipes
  finish what is in them while their workers are still there. A pipe that fails too often ends
  alone. Pipes that are to be there whenever your application is, belong under a supervisor of
  its own: `{Slither.Pipe, {MyApp.ScorePipe, sinks: […]}}`.
  """

  use DynamicSupervisor

  alias Slither.Pipe.Instance

  @doc false
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(_options), do: DynamicSupervisor.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_options), do: DynamicSupervisor.init(strategy: :one_for_one)

  @doc """
  Starts a long-running pipe here; takes and returns what `Slither.Pipe.start_link/2` does.

  The pipe is not linked to the caller.
  """
  @spec start_pipe(Slither.Pipe.Runner.pipe(), keyword) ::
          {:ok, pid} | {:error, Exception.t() | {:already_started, pid}}
  def start_pipe(pipe, options \\ []),
    do: DynamicSupervisor.start_child(__MODULE__, Instance.child_spec({pipe, options}))
end
