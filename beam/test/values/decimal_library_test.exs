defmodule Slither.DecimalLibraryTest do
  # A VM in which a module Decimal is to be found, as the library's is for whoever depends on it.
  use ExUnit.Case, async: true

  @moduletag :tmp_dir

  # The library's struct, as versions 1 to 3 have it.
  @library """
  defmodule Decimal do
    defstruct sign: 1, coef: 0, exp: 0
  end
  """

  @script """
  {:ok, _started} = Application.ensure_all_started(:slither)
  alias Slither.{Decimal, Expression, Protocol}

  through = fn text ->
    {:ok, bytes} = text |> Decimal.new() |> Protocol.pack()
    {:ok, theirs} = Protocol.unpack(bytes)
    {:ok, ^bytes} = Protocol.pack(theirs)
    theirs
  end

  for text <- ["1.10", "-0", "NaN", "-Infinity"] do
    %{__struct__: module, sign: sign, coef: coef, exp: exp} = through.(text)
    IO.puts("\#{inspect(module)} \#{sign} \#{coef} \#{exp}")
  end

  {:ok, expression} = Expression.new(["<", ["item"], 1.5])
  {:ok, less} = Expression.eval(expression, through.("1.10"))
  IO.puts(less)
  """

  test "decimals from Python are the library's where it is there, before anybody has called it",
       %{
         tmp_dir: folder
       } do
    File.write!(Path.join(folder, "library.ex"), @library)
    {_said, 0} = System.cmd("elixirc", ["-o", folder, Path.join(folder, "library.ex")])
    script = Path.join(folder, "script.exs")
    File.write!(script, @script)
    ours = Application.app_dir(:slither, "ebin")

    assert {said, 0} = System.cmd("elixir", ["-pa", folder, "-pa", ours, script])

    assert String.split(said, "\n", trim: true) ==
             ["Decimal 1 110 -2", "Decimal -1 0 0", "Decimal 1 NaN 0", "Decimal -1 inf 0", "true"]
  end
end
