defmodule Slither.Proof.Fuzz.LiveWorker do
  @moduledoc false
  # Frames against a live worker, through a raw port: it answers each one, or refuses it with a
  # reason, and lives; or it ends with a status of 0, as it does when it is told to.

  alias Slither.Proof.Fuzz.{Decoder, Mutator, Tally}
  alias Slither.Protocol.Frame
  alias Slither.Python.Environment

  @max_frame 65_536
  @patience 60_000

  defstruct [:port, :os_pid, ends: 0, token: 0]

  @doc "Hands `count` frames to a worker, or to one after the other; what came of them."
  @spec run(tuple, pos_integer, integer) :: %{tally: Tally.t(), ends: non_neg_integer}
  def run(corpus, count, seed) do
    :rand.seed(:exsss, seed)

    {tally, worker} =
      Enum.reduce(1..count, {%Tally{}, start(0)}, fn _, {tally, worker} ->
        body = body(corpus)

        {tally, next} = Tally.guard(tally, body, :broken, fn -> feed(worker, body) end)
        {tally, if(next == :broken, do: again(worker), else: next)}
      end)

    stop(worker)
    %{tally: tally, ends: worker.ends}
  end

  # Some that no port would send, were it not for us: empty ones, and ones over the limit.
  defp body(corpus) do
    case :rand.uniform(200) do
      1 -> <<>>
      2 -> :rand.bytes(@max_frame + :rand.uniform(70_000))
      _ -> Mutator.frame(corpus)
    end
  end

  defp feed(worker, body) do
    token = worker.token + 1
    worker = %{worker | token: token}
    command(worker, body)
    command(worker, encode({:ping, token}))
    await(worker, encode({:pong, token}), :taken)
  end

  # Frames are read in order: what comes before the pong came of the frame.
  defp await(%{port: port} = worker, pong, came) do
    receive do
      {^port, {:data, ^pong}} ->
        {came, worker}

      {^port, {:data, body}} ->
        {:ok, frame} = Frame.decode(body)
        await(worker, pong, came(frame, came))

      {^port, {:exit_status, 0}} ->
        {came, start(worker.ends + 1)}

      {^port, {:exit_status, status}} ->
        raise "the worker ended with status #{status}"
    after
      @patience -> raise "the worker says nothing"
    end
  end

  defp came({:error, _id, %{"kind" => kind, "message" => why}}, came)
       when kind in ["protocol", "not_decodable"] do
    if why == "", do: raise("a refusal without a reason")
    if came == :taken, do: {:refused, "#{kind}: #{Decoder.class(why)}"}, else: came
  end

  # Answers to calls that are calls, and what a handler says meanwhile.
  defp came({name, _, _}, came) when name in [:error, :pipe], do: came
  defp came({name, _, _, _, _}, came) when name in [:result, :part], do: came
  defp came({:log, _, _, _, _, _, _}, came), do: came
  defp came({:pong, _}, came), do: came

  defp start(ends) do
    {:ok, python} = Environment.interpreter(nil)

    options = [
      :binary,
      :nouse_stdio,
      :exit_status,
      :hide,
      packet: 4,
      args: ["-m", "slither.worker"]
    ]

    env = Environment.variables(%{size: 1, env: []}, 0)
    port = Port.open({:spawn_executable, python}, [{:env, env} | options])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    worker = %__MODULE__{port: port, os_pid: os_pid, ends: ends}
    {:hello, _, _} = frame(worker)
    settings = %{"max_frame" => @max_frame, "capture" => true, "credits" => 1_000_000_000}
    command(worker, encode({:welcome, Frame.version(), settings}))
    {:ready, _} = frame(worker)
    worker
  end

  defp frame(%{port: port}) do
    receive do
      {^port, {:data, body}} -> body |> Frame.decode() |> elem(1)
      {^port, {:exit_status, status}} -> raise "the worker ended with status #{status}"
    after
      @patience -> raise "the worker does not start"
    end
  end

  defp again(worker) do
    stop(worker)
    start(worker.ends)
  end

  defp stop(%{port: port, os_pid: os_pid}) do
    if Port.info(port), do: Port.close(port)
    Slither.Python.OSProcess.kill_group(os_pid)
  end

  defp encode(frame), do: frame |> Frame.encode!() |> IO.iodata_to_binary()

  # A port that has closed raises; its exit status tells.
  defp command(worker, body) do
    Port.command(worker.port, body)
  rescue
    ArgumentError -> false
  end
end
