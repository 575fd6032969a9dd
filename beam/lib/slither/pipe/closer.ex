defmodule Slither.Pipe.Closer do
  @moduledoc false
  # The last child of a long-running pipe's supervisor, and so the first to stop. As it stops, it
  # has the server finish the items inside, within the time that the pipe was given. Meanwhile the
  # server works as ever, and answers its callers.

  use GenServer

  alias Slither.Pipe.{Names, Server, Setup}

  # ms beyond the pipe's own time within which the server answers, unless a handler blocks it.
  @patience 500

  @spec child_spec(Setup.t()) :: Supervisor.child_spec()
  def child_spec(setup) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [setup]},
      shutdown: setup.shutdown + 2 * @patience
    }
  end

  @spec start_link(Setup.t()) :: GenServer.on_start()
  def start_link(setup), do: GenServer.start_link(__MODULE__, setup)

  @impl true
  def init(setup) do
    Process.flag(:trap_exit, true)
    {:ok, setup}
  end

  @impl true
  def terminate(_reason, setup) do
    with {:ok, server, _counts} <- Names.find(:server, setup.name),
         do: Server.close(server, setup.shutdown, setup.shutdown + @patience)
  catch
    # The server has ended, or a handler blocks it.
    :exit, _reason -> :ok
  end
end
