defmodule Slither.Gather.ConfiguredTest do
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Pool.Configured

  test "gathers are read by name; false takes one out, or all" do
    embed = [module: "my_model", function: "embed_batch"]
    assert Configured.gathers(embed: embed, other: false) == {:ok, [embed: embed]}
    assert Configured.gathers(nil) == {:ok, []}
    assert Configured.gathers(false) == {:ok, []}
  end

  test "a name inside is that of the key, or refused" do
    same = [name: :embed, module: "m", function: "f"]
    assert Configured.gathers(embed: same) == {:ok, [embed: same]}

    assert {:error, %Error{reason: :invalid_option} = error} =
             Configured.gathers(embed: [name: :other, module: "m", function: "f"])

    assert Exception.message(error) =~ "gather :embed has another name inside, :other"
    assert Exception.message(error) =~ "leave name: out"
    assert {:error, %Error{}} = Configured.pools(default: [name: :other])
  end

  test "what is no such list is an error that says what to write" do
    for wrong <- [[:embed], %{embed: []}, [embed: "my_model"]] do
      assert {:error, %Error{reason: :invalid_option} = error} = Configured.gathers(wrong)

      assert Exception.message(error) =~
               "config :slither: gathers: takes options by name, or false"

      assert Exception.message(error) =~ "write gathers: [embed: [module:"
    end

    assert {:error, %Error{reason: :duplicate} = error} = Configured.gathers(a: [], a: [])
    assert Exception.message(error) =~ "gather :a is there twice"
  end
end
