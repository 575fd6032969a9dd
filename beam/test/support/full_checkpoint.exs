# Run by resume_test.exs, once in a VM whose files can't grow beyond a limit. Says how the run ended,
# and what it gave.
defmodule Full.Pipe do
  use Slither.Pipe

  pipe :full do
    stage(:grow, :beam,
      handler: &{&1.payload, String.duplicate("x", 500), System.unique_integer()}
    )
  end
end

[path] = System.argv()
Application.ensure_all_started(:slither)

{ending, outputs} =
  case Slither.run_pipe(Full.Pipe, 1..1_000, checkpoint: path) do
    {:ok, outputs} -> {"whole", outputs}
    {:error, error, partial} -> {"#{error.reason} #{Exception.message(error)}", partial}
  end

payloads = Enum.map(outputs.default, & &1.payload)
IO.puts("ended #{ending}")
IO.puts("given " <> Base.encode64(:erlang.term_to_binary(payloads)))
