defmodule Slither.Examples.Baseline do
  @moduledoc """
  Runs the baselines of an example: plain Python programs that do the same work on the same data
  with the same number of workers, each in a process of its own.
  """

  alias Slither.Examples.{JSON, Memory}

  @root Path.expand("..", __DIR__)

  # Each has a thread that ends it at its deadline; this is for one that holds the interpreter.
  @grace 3_000

  @kinds ~w(unsafe_threaded safe_python process_pool)

  @doc "The kinds, in the order in which they are shown."
  @spec kinds() :: [String.t()]
  def kinds, do: @kinds

  @doc """
  Runs one kind of those in an example's folder. Takes `python:`, `workers:`, `size:` and `deadline:` in ms.

  Its answer has the fields of a row (see `Slither.Examples.Runner`). A program that died or did
  not end is no error: that, too, is what the baseline is there to show.
  """
  @spec run(Path.t(), String.t(), keyword) :: map
  def run(folder, kind, options) do
    arguments =
      [Path.join(@root, "run_baseline.py"), folder, "--kind", kind] ++
        ["--workers", "#{options[:workers]}", "--size", "#{options[:size]}"] ++
        ["--deadline", "#{options[:deadline] / 1_000}"]

    port =
      Port.open(
        {:spawn_executable, options[:python]},
        [:binary, :exit_status, :hide, args: arguments, line: 1_000_000, cd: @root] ++
          [env: [{~c"PYTHONDONTWRITEBYTECODE", ~c"1"}]]
      )

    os_pid = port |> Port.info(:os_pid) |> elem(1)
    timer = Process.send_after(self(), {__MODULE__, :late, port}, options[:deadline] + @grace)

    row =
      collect(%{
        port: port,
        os_pid: os_pid,
        sampler: nil,
        peak: nil,
        promised: [],
        result: nil,
        late: false
      })

    Process.cancel_timer(timer)
    Map.merge(row, %{kind: kind, deadline: options[:deadline]})
  end

  defp collect(%{port: port} = state) do
    receive do
      {^port, {:data, {:eol, line}}} -> line |> JSON.decode() |> take(state) |> collect()
      {^port, {:data, {:noeol, _part}}} -> collect(state)
      {^port, {:exit_status, status}} -> row(sampled(state), status)
      {__MODULE__, :late, ^port} -> collect(kill(state))
    end
  end

  # Data are there, and the clock starts.
  defp take({:ok, %{"event" => "begin"} = line}, state),
    do: %{state | sampler: Memory.start(state.os_pid), promised: line["invariants"]}

  defp take({:ok, %{"event" => "end"}}, state), do: sampled(state)
  defp take({:ok, %{"event" => "result"} = line}, state), do: %{state | result: line}
  # Something that it printed.
  defp take(_other, state), do: state

  defp sampled(%{sampler: nil} = state), do: state

  defp sampled(state),
    do: %{state | sampler: nil, peak: Memory.stop(state.sampler)}

  # It leads a process group of its own, in which its children are.
  defp kill(state) do
    System.cmd("kill", ["-KILL", "--", "-#{state.os_pid}"], stderr_to_stdout: true)
    %{state | late: true}
  end

  defp row(%{result: nil} = state, status) do
    died =
      cond do
        state.late -> "did not end, and held its interpreter"
        status > 128 -> "the interpreter died of signal #{status - 128}; all results are lost"
        true -> "ended with status #{status} and no result"
      end

    %{
      invariants: for(text <- state.promised, do: {text, false}),
      start_ms: nil,
      import_ms: nil,
      ms: nil,
      peak_memory: state.peak,
      restarts: 0,
      interpreter: nil,
      note: died,
      ended: false
    }
  end

  defp row(%{result: result} = state, _status) do
    %{
      invariants:
        for(%{"text" => text, "held" => held} <- result["invariants"], do: {text, held}),
      start_ms: result["start_ms"],
      import_ms: result["import_ms"],
      ms: result["ms"],
      peak_memory: state.peak,
      restarts: result["restarts"],
      interpreter: result["interpreter"],
      note: result["note"],
      ended: result["ended"]
    }
  end
end
