defmodule Slither.OptionsTest do
  use ExUnit.Case, async: true

  alias Slither.Options

  @table [
    size: [type: :pos_integer, default: 2, doc: "How many."],
    timeout: [type: :timeout, default: :infinity, doc: "ms."],
    order: [type: {:in, [:first, :last]}, doc: "Which one."],
    batch: [type: {:or, [:pos_integer, {:in, [:auto, nil]}]}, doc: "Its size."],
    name: [type: :string, required: true, doc: "Its name."],
    extra: [doc: "Whatever."]
  ]

  defp message(options) do
    {:error, error} = Options.validate(options, @table, "here")
    {error.reason, Exception.message(error)}
  end

  describe "validate/3" do
    test "fills in defaults, beside what was given" do
      assert {:ok, options} = Options.validate([name: "n", size: 3], @table, "here")
      assert Enum.sort(options) == [name: "n", size: 3, timeout: :infinity]
      read = Options.read(@table)
      assert Options.validate([name: "n", size: 3], read, "here") == {:ok, options}
    end

    test "says what is wrong, and where" do
      assert message([:name]) == {:invalid_options, "here: takes a keyword list, got [:name]"}
      assert message([]) == {:missing_option, "here: option :name is required: a string (UTF-8)"}

      assert message(nmae: 1) ==
               {:unknown_option,
                "here: unknown option :nmae. Did you mean :name? " <>
                  "Accepted: :size, :timeout, :order, :batch, :name, :extra"}

      assert message(name: "n", batch: 0) ==
               {:invalid_option,
                "here: option :batch takes an integer of 1 or more, or one of :auto, nil, got 0"}
    end
  end

  describe "from_wire/2" do
    test "reads words as the atoms that a type knows, and nil as :infinity where a type takes it" do
      for {name, value, expected} <- [
            {"order", "last", :last},
            {"order", "middle", "middle"},
            {"order", nil, nil},
            {"batch", "auto", :auto},
            {"batch", "nil", "nil"},
            {"batch", nil, nil},
            {"batch", 7, 7},
            {"timeout", nil, :infinity},
            {"timeout", "infinity", "infinity"},
            {"name", "first", "first"},
            {"extra", "first", "first"}
          ] do
        assert Options.from_wire(%{name => value}, @table) ==
                 {:ok, [{String.to_existing_atom(name), expected}]}
      end
    end

    test "names what the table has not, and makes no atom of it" do
      name = "never_an_atom_#{System.unique_integer([:positive])}"
      assert Options.from_wire(%{name => 1}, @table) == {:unknown, name}
      assert Options.from_wire(%{1 => 1}, @table) == {:unknown, 1}
      assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
    end

    test "leaves values of a wrong type for the check to refuse" do
      assert {:ok, options} = Options.from_wire(%{"name" => "n", "order" => "middle"}, @table)
      assert {:invalid_option, text} = message(options)
      assert text == ~s(here: option :order takes one of :first, :last, got "middle")
    end
  end

  test "docs/1 has a line for each option, with its type and default" do
    assert Options.docs(Keyword.take(@table, [:size, :name])) ==
             "  * `:size` (an integer of 1 or more, default `2`) How many.\n" <>
               "  * `:name` (a string (UTF-8), required) Its name."
  end
end
