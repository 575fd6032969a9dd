defmodule Slither.Pipe.Heir do
  @moduledoc false
  # The process of a long-running pipe that knows what its server has not told yet of items whose
  # pusher asked for it. The first child of the pipe's supervisor, and so the last to stop: what is
  # untold then is lost, and it says so. Where the server was killed, or the supervisor, nobody
  # else could.

  use GenServer

  alias Slither.Pipe.{Acks, Names, Setup}

  @spec start_link(Setup.t()) :: GenServer.on_start()
  def start_link(setup),
    do: GenServer.start_link(__MODULE__, setup, name: Names.via(:heir, setup.name))

  @doc "So many items of a push are to be told of."
  @spec expect(pid, reference, Acks.ack(), pos_integer) :: :ok
  def expect(heir, ref, ack, count), do: GenServer.cast(heir, {:expect, ref, ack, count})

  @doc "The server has told what became of items."
  @spec told(pid, [{reference, index :: non_neg_integer}]) :: :ok
  def told(heir, items), do: GenServer.cast(heir, {:told, items})

  @impl true
  def init(_setup) do
    Process.flag(:trap_exit, true)
    {:ok, Acks.new()}
  end

  @impl true
  def handle_cast({:expect, ref, ack, count}, acks),
    do: {:noreply, Acks.expect(acks, ref, ack, count)}

  def handle_cast({:told, items}, acks), do: {:noreply, Acks.told(acks, items)}

  @impl true
  def terminate(_reason, acks), do: Acks.lose(acks)
end
