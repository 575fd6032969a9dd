defmodule Slither.Driver.Requests do
  @moduledoc false
  # Serves what a driver asks for by name, other than runs. The server starts a process for each
  # request.

  alias Slither.Driver.{Faults, Options, Status, Tables}
  alias Slither.{Error, Session}
  alias Slither.Protocol.Frame
  alias Slither.Python.Pool

  @names ~w(await_ready end_session resize restart stacks status table)

  @doc "Serves one request."
  @spec serve(String.t(), map) :: {:ok, term} | {:error, Exception.t()}
  def serve("status", _arguments), do: Status.read()

  def serve("stacks", _arguments) do
    with {:ok, workers} <- Pool.stacks(:default) do
      facts =
        &%{"worker" => &1.worker, "pid" => &1.os_pid, "call" => &1.call, "stack" => &1.stack}

      {:ok, Enum.map(workers, facts)}
    end
  end

  def serve("await_ready", %{"timeout" => timeout}) do
    with :ok <- Pool.await_ready(:default, timeout), do: {:ok, nil}
  end

  def serve("restart", _arguments), do: done(Pool.restart(:default))
  def serve("resize", %{"size" => size}), do: done(Pool.resize(:default, Options.size(size)))
  def serve("end_session", %{"session" => session}), do: done(Session.stop(session))
  def serve("table", spec), do: Tables.open(spec)
  def serve(name, _arguments), do: {:error, Faults.unknown("request", name, @names)}

  defp done(:ok), do: {:ok, nil}
  defp done(error), do: error

  @doc "The frame that answers it."
  @spec reply(pos_integer, {:ok, term} | {:error, Exception.t()}) :: iodata
  def reply(id, {:ok, value}) do
    case Frame.encode({:view_reply, id, 0, value}) do
      {:ok, frame} -> frame
      {:error, why} -> reply(id, {:error, %Error{reason: :not_encodable, message: why}})
    end
  end

  def reply(id, {:error, error}),
    do: Frame.encode!({:view_reply, id, 1, Faults.to_wire(error)})
end
