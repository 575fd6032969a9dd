defmodule Slither.Reader do
  @moduledoc false
  # Who reads what this VM says: people who write Elixir, or, where a Python program has started the
  # VM, people who write Python. Set once, before anything runs; any process may ask.

  @doc "Says that they write Python."
  @spec of_python() :: :ok
  def of_python, do: Application.put_env(:slither, :reader, :python)

  @doc "Whether they write Python."
  @spec python?() :: boolean
  def python?, do: Application.get_env(:slither, :reader) == :python
end
