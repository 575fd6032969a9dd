# Run by resume_test.exs in a VM of its own, which the test kills. Says "got" for each result it
# is handed, and "done" with the whole of the checkpointed result when the run is complete.
defmodule Resumable.Pipe do
  use Slither.Pipe

  pipe :resumable do
    stage(:prepare, :beam, handler: &Resumable.Pipe.prepare/1)

    stage(:double, :python,
      module: "flow_handlers",
      function: "double",
      batch_size: 4,
      max_in_flight: 3
    )

    stage(:late, :python,
      module: "flow_handlers",
      function: "fail_items",
      batch_size: 7,
      max_in_flight: 3
    )

    stage(:route, :router, routes: [{&(rem(&1.payload, 3) == 0), :third}])
    output(:third)
    output(:aside)
    output(:bad)
    on_error(:prepare, {:route, :bad})
  end

  def prepare(%{payload: n}) do
    case rem(n, 10) do
      0 -> {:skip, :round}
      1 -> {:many, [n, n * 1_000, n * 1_000_000]}
      2 -> {:route, :aside, n}
      3 -> {:error, :three}
      _ -> n
    end
  end
end

[path, handlers, count] = System.argv()
Application.ensure_all_started(:slither)
Logger.configure(level: :error)
{:ok, _} = Slither.Python.Pool.start_link(name: :default, size: 2, paths: [handlers])

for {output, item} <-
      Slither.stream_pipe(Resumable.Pipe, 1..String.to_integer(count), checkpoint: path) do
  IO.puts("got #{output} #{item.payload}")
  # Until it is told to go on, or killed; its stages work meanwhile.
  "\n" = IO.read(:line)
end

{:ok, outputs} = Slither.run_pipe(Resumable.Pipe, 1..String.to_integer(count), checkpoint: path)

payloads = Map.new(outputs, fn {name, items} -> {name, Enum.map(items, & &1.payload)} end)
IO.puts("done " <> Base.encode64(:erlang.term_to_binary(payloads)))
