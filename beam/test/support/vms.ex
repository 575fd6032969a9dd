defmodule Slither.Test.VMs do
  @moduledoc false
  # VMs of their own, which run a script of this folder and are killed. What they print comes as
  # lines.

  import ExUnit.Assertions

  @patience 120_000

  @doc "Starts `script` in a VM; `before` is what the shell does first."
  def open(script, arguments, before \\ ":") do
    elixir = System.find_executable("elixir")
    paths = for path <- :code.get_path(), path = to_string(path), path =~ "_build", do: path
    pa = Enum.flat_map(paths, &["-pa", &1])
    command = [elixir | pa] ++ start() ++ [Path.expand(script, __DIR__) | arguments]
    args = ["-c", "#{before}; exec \"$@\"", "sh" | command]
    options = [:binary, :exit_status, :hide, line: 1_000_000, args: args]
    Port.open({:spawn_executable, "/bin/sh"}, options)
  end

  # Workers start there as they do in the tests of this VM.
  defp start do
    case Application.get_env(:slither, :start) do
      nil -> []
      way -> ["--erl", "-slither start #{way}"]
    end
  end

  @doc "Waits for a line that begins with `prefix`; the rest of it."
  def wait_for(port, prefix) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        if String.starts_with?(line, prefix),
          do: String.replace_prefix(line, prefix, ""),
          else: wait_for(port, prefix)

      {^port, {:exit_status, status}} ->
        flunk("the VM ended with #{status}")
    after
      @patience -> flunk("the VM said nothing")
    end
  end

  @doc "Kills the VM; calls `fun` with the lines it had said, and an accumulator."
  def kill(port, acc, fun) do
    {:os_pid, pid} = Port.info(port, :os_pid)
    {_, 0} = System.cmd("kill", ["-9", to_string(pid)])
    rest(port, acc, fun)
  end

  @doc "Waits for the end of the VM, as `kill/3`."
  def rest(port, acc, fun) do
    receive do
      {^port, {:data, {:eol, line}}} -> rest(port, fun.(line, acc), fun)
      {^port, {:data, _torn}} -> rest(port, acc, fun)
      {^port, {:exit_status, _status}} -> acc
    after
      @patience -> flunk("the VM did not end")
    end
  end

  @doc "A term that a script printed."
  def term(line), do: line |> Base.decode64!() |> :erlang.binary_to_term()
end
