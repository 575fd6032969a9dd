defmodule Slither.Bench.Peers do
  @moduledoc """
  Python libraries that a user would take instead, in a process that runs what it is asked for.
  """

  @doc "Starts the process."
  def start(folder) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)

    Port.open({:spawn_executable, python}, [
      :binary,
      line: 1_000,
      args: ["-u", Path.join(folder, "peers.py")],
      env: [{~c"PYTHONPATH", to_charlist(folder)}]
    ])
  end

  @doc "The names of those whose package is installed."
  def optional(names) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)

    Enum.filter(names, fn name ->
      package = name |> String.split() |> hd() |> String.downcase()
      match?({_, 0}, System.cmd(python, ["-c", "import #{package}"], stderr_to_stdout: true))
    end)
  end

  @doc "Runs one measure; its one figure."
  def ask(port, line), do: port |> answer(line) |> hd()

  @doc "Runs one measure; its percentiles."
  def ask_percentiles(port, line, name) do
    Enum.zip(["p50", "p99", "p99.9"], answer(port, line))
    |> Map.new(fn {label, value} -> {"#{name} #{label}", value} end)
  end

  defp answer(port, line) do
    Port.command(port, line <> "\n")

    receive do:
              ({^port, {:data, {:eol, text}}} ->
                 for(part <- String.split(text), do: number(part)))
  end

  defp number(text) do
    {number, ""} = Float.parse(text)
    number
  end
end

defmodule Slither.Bench.BarePort do
  @moduledoc """
  The limit: a port for each worker, with the same codec, a process for each port, and nothing else.
  """

  alias Slither.Protocol.{Decoder, Encoder}

  # Batches that a worker has at one time.
  @window 4

  @doc "Starts as many echoing workers, each with a process that feeds it."
  def start(folder, workers) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    for _ <- 1..workers, do: spawn_link(fn -> own(python, folder) end)
  end

  @doc "Sends payloads in batches there and back; the results, in order."
  def run(owners, payloads, size) do
    ref = make_ref()
    shares = payloads |> Enum.chunk_every(size) |> share(length(owners))
    for {owner, share} <- Enum.zip(owners, shares), do: send(owner, {:run, self(), ref, share})
    results = for owner <- owners, do: receive(do: ({^ref, ^owner, results} -> results))
    weave(results, [])
  end

  defp share(batches, count),
    do: for(n <- 0..(count - 1), do: batches |> Enum.drop(n) |> Enum.take_every(count))

  defp weave(lists, acc) do
    case for([batch | _] <- lists, do: batch) do
      [] -> acc |> Enum.reverse() |> Enum.concat()
      heads -> weave(Enum.map(lists, &Enum.drop(&1, 1)), Enum.reverse(heads, acc))
    end
  end

  defp own(python, folder) do
    port =
      Port.open({:spawn_executable, python}, [
        :binary,
        :nouse_stdio,
        packet: 4,
        args: [Path.join(folder, "bare_echo.py")]
      ])

    serve(port)
  end

  defp serve(port) do
    receive do
      {:run, from, ref, batches} ->
        {first, rest} = Enum.split(batches, @window)
        Enum.each(first, &write(port, &1))
        send(from, {ref, self(), collect(port, rest, length(batches), [])})
        serve(port)
    end
  end

  defp collect(_port, [], 0, acc), do: Enum.reverse(acc)

  defp collect(port, rest, left, acc) do
    receive do
      {^port, {:data, body}} ->
        rest =
          with [next | rest] <- rest,
               do:
                 (
                   write(port, next)
                   rest
                 )

        {:ok, results} = Decoder.decode(body)
        collect(port, rest, left - 1, [results | acc])
    end
  end

  defp write(port, batch), do: Port.command(port, Encoder.encode!(batch))
end
