# Somebody may do without Prometheus; CI is to have it. `scripts/test` says so at its end, too.
without =
  if System.find_executable("promtool") || System.get_env("CI") do
    []
  else
    IO.puts("Prometheus is not on PATH (apt install prometheus): its tests are left out")
    [:prometheus]
  end

# What a test logs is shown only where it fails. A busy machine takes its time; nothing waits this
# long unless something is wrong.
options = [capture_log: true, assert_receive_timeout: 60_000, timeout: 300_000]
ExUnit.start([exclude: without] ++ options)

# How the workers of pools start that don't say it: both ways are to be the same to all tests.
if start = System.get_env("SLITHER_START"),
  do: Application.put_env(:slither, :start, String.to_atom(start))
