# From nothing to the first result, each in processes of its own: BEAM and a pool of one worker,
# a Python program that starts BEAM, and what Python's own pools and Ray take.
Code.require_file("bench.ex", __DIR__)
Code.require_file("peers.ex", __DIR__)

defmodule Slither.Bench.Startup do
  import Slither.Bench
  alias Slither.Bench.Peers

  @python Path.join(__DIR__, "python")

  def run(rounds \\ 5) do
    Logger.configure(level: :warning)
    names = ["Elixir", "Elixir, NumPy", "Python", "Python, NumPy", "Pool", "Pool, NumPy"]
    names = names ++ Peers.optional(["Ray"])
    measures = for name <- names, do: {label(name), fn -> time(name) end}
    for {_name, fun} <- measures, do: fun.()
    results = rounds(rounds, measures)
    report("From nothing to the first result", "ms", results, claims(results))
  end

  defp claims(results) do
    for {label, _} <- results, label =~ "Ray" do
      {"Slither from Elixir / Ray", results[label("Elixir")].median / results[label].median, "<=",
       1.0}
    end
  end

  defp label("Elixir" <> more), do: "Slither from Elixir" <> more
  defp label("Python" <> more), do: "Slither from Python" <> more
  defp label("Pool" <> more), do: "multiprocessing.Pool" <> more
  defp label(name), do: name

  defp time(name) do
    [what | more] = String.split(name, ", ")
    handler = if more == [], do: "same_batch", else: "numpy_batch"
    {command, arguments} = command(what, handler)

    {time, {_, 0}} =
      :timer.tc(fn ->
        System.cmd(command, arguments,
          cd: @python,
          env: [{"PYTHONPATH", @python}],
          stderr_to_stdout: true
        )
      end)

    time / 1_000
  end

  defp command("Elixir", handler) do
    script = """
    {:ok, _} = Application.ensure_all_started(:slither)
    {:ok, _} = Slither.Python.Pool.start_link(name: :one, size: 1)
    {:ok, [_]} = Slither.dispatch([1], pool: :one, module: "bench_items", function: "#{handler}")
    Application.stop(:slither)
    """

    {"elixir", ["-pa", Path.join(Mix.Project.app_path(), "ebin"), "-e", script]}
  end

  defp command("Python", handler),
    do:
      python("""
      import slither, bench_items
      with slither.Beam(workers=1) as beam:
          beam.submit(bench_items.#{handler}, [1]).result()
      """)

  defp command("Pool", handler),
    do:
      python("""
      import multiprocessing, bench_items
      with multiprocessing.Pool(1) as pool:
          pool.apply(bench_items.#{handler}, ([1],))
      """)

  defp command("Ray", handler),
    do:
      python("""
      import ray, bench_items
      ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
      assert ray.get(ray.remote(bench_items.#{handler}).remote([1]))
      """)

  defp python(script) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    {python, ["-c", script]}
  end
end

Slither.Bench.Startup.run()

# Until a worker that is forked is ready, and the memory of ten.
Code.require_file("startup_fork.exs", __DIR__)
