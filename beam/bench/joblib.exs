# joblib's calls and scikit-learn's n_jobs on two workers: Slither's backend beside loky, joblib's own,
# both warm. One Python program has both.
Code.require_file("bench.ex", __DIR__)

defmodule Slither.Bench.Joblib do
  import Slither.Bench

  # Of loky's time, by measure, the most that ours may take. A job of next to nothing is on its way for
  # longer: BEAM is between the program and the worker.
  @limits %{
    "GridSearchCV, 24 fits" => 1.0,
    "a forest of 60 trees" => 1.0,
    "2,000 calls of nothing" => 3.0,
    "one call of Parallel" => 3.0,
    "128 MB for 8 calls" => 1.0,
    "16 results of 8 MB" => 1.0,
    "200 calls of a closure" => 3.0
  }

  def run(rounds \\ 7) do
    {:ok, python} = Slither.Python.Environment.interpreter(nil)
    script = Path.join([__DIR__, "python", "bench_joblib.py"])
    env = [{"PYTHONPATH", Path.expand("../../python", __DIR__)}]
    {text, 0} = System.cmd(python, [script, to_string(rounds)], env: env)

    results =
      for(line <- String.split(text, "\n", trim: true), do: String.split(line, "\t"))
      |> Enum.group_by(&hd/1, fn [_name, time] -> String.to_float(time) end)
      |> Map.new(fn {name, times} -> {name, summary(times)} end)

    claims =
      for {name, limit} <- Enum.sort(@limits) do
        [ours, theirs] = for backend <- ["slither", "loky"], do: results["#{name}, #{backend}"]
        {"#{name}: slither / loky", ours.median / theirs.median, "<=", limit}
      end

    report("joblib, both backends warm", "ms", results, claims)
  end
end

Slither.Bench.Joblib.run()
