# Run by application_test.exs in a VM of its own: what the application says of a configuration that is
# wrong.
Logger.configure(level: :none)

wrong = [
  max_series: "many",
  attach: :never,
  dashboard: [port: "x"],
  dashboard: [prt: 1],
  trace: [sampel: 1]
]

for {key, value} <- wrong do
  Application.put_env(:slither, key, value)

  {:error, {:slither, {:bad_return, {_start, {:EXIT, {error, _stacktrace}}}}}} =
    Application.ensure_all_started(:slither)

  IO.puts("#{key} #{Exception.message(error)}")
  Application.delete_env(:slither, key)
end

{:ok, _started} = Application.ensure_all_started(:slither)
IO.puts("started true")
