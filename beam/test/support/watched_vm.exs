# Run by attach_test.exs in a VM of its own, which ends in one of many ways.
[way] = System.argv()
Application.ensure_all_started(:slither)
# Opened after the start, which it must not delay.
:sys.get_state(Slither.Watch.Attach)
IO.puts("socket #{Slither.Watch.Attach.path()}")
IO.puts("pid #{System.pid()}")
# The test may be gone before it has said so.
way = if IO.read(:line) == "end\n", do: way, else: "halt"

case way do
  "stop" -> System.stop()
  "halt" -> System.halt(0)
  "application" -> Application.stop(:slither)
  "last line" -> :ok
end

if way == "stop", do: receive(do: (:never -> :ok))
