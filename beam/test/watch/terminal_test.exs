defmodule Slither.Watch.TerminalTest do
  # The show of `mix slither.top` in a terminal, in a VM of its own that looks at this one.
  use ExUnit.Case, async: true

  alias Slither.Python.Environment

  @script Path.expand("../support/in_terminal.py", __DIR__)
  @show """
  {:ok, vm} = Slither.Watch.Attach.Client.connect(String.to_integer(hd(System.argv())))
  :ok = Slither.Watch.Terminal.show(vm)
  """

  for {name, letter} <- [{"q", "q"}, {"Ctrl-C", "\x03"}] do
    test "#{name} ends it, and gives the terminal back as it was" do
      # This VM's socket is open by then.
      :sys.get_state(Slither.Watch.Attach)
      {:ok, python} = Environment.interpreter(nil)
      paths = for path <- :code.get_path(), path = to_string(path), path =~ "_build", do: path
      show = ["elixir"] ++ Enum.flat_map(paths, &["-pa", &1]) ++ ["-e", @show, System.pid()]
      arguments = [@script, unquote(letter) | show]
      env = [{"TERM", "xterm"}, {"NO_COLOR", nil}]
      {told, 0} = System.cmd(python, arguments, env: env, stderr_to_stdout: true)

      assert ["0", "True", drawn] = told |> String.trim() |> String.split("\n")
      assert drawn =~ "\\x1b[?1049h\\x1b[?25l"
      assert drawn =~ "slither top - "
      assert String.ends_with?(drawn, "\\x1b[?25h\\x1b[?1049l")
      # It fits.
      last = drawn |> String.split("\\x1b[H") |> List.last()
      assert length(String.split(last, "\\x1b[K\\r\\n")) <= 12
    end
  end
end
