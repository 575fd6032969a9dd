defmodule Slither.ExpressionTest do
  use ExUnit.Case, async: true

  import Slither.Test.JSON, only: [rows: 1, untag: 1]

  alias Slither.Expression
  alias Slither.Test.Encodables.{Broken, Point}

  doctest Slither.Expression

  @deepest 64

  defp new!(data) do
    {:ok, expression} = Expression.new(data)
    expression
  end

  defp refused(data, options \\ []) do
    {:error, error} = Expression.new(data, options)
    assert error.reason == :invalid_expression
    error.message
  end

  defp nested(depth), do: Enum.reduce(2..depth, ["item"], fn _, inner -> ["len", inner] end)

  describe "structs of the user's own" do
    test "are what Slither.Encodable sends of them" do
      point = %Point{x: 1, y: %Point{x: 2, y: nil}}
      assert value(["get", ["get", ["item"], "y"], "x"], point) == {:ok, 2}

      assert value(["==", ["get", ["item"], "y"], ["dict", [["x", 2], ["y", nil]]]], point) ==
               {:ok, true}

      assert value(["len", ["item"]], point) == {:ok, 2}
      assert value(["item"], point) == {:ok, point}
    end

    test "that can't be sent are values of no type" do
      assert {:error, error} = value(["get", ["item"], "host"], %URI{})
      assert error.message =~ "only a dict or a list has parts, got a value that can't be sent"
      assert value(["==", ["item"], ["item"]], %Broken{why: "no"}) == {:ok, true}
    end
  end

  test "a set within a set is a frozen one, as it is in Python" do
    set = MapSet.new([1])
    frozen = Slither.FrozenSet.new([1.0])
    within = ["in", ["get", ["item"], 0], ["get", ["item"], 1]]
    same = ["==", ["get", ["item"], 0], ["get", ["item"], 1]]
    assert value(within, [set, MapSet.new([set])]) == {:ok, false}
    assert value(within, [frozen, MapSet.new([set])]) == {:ok, true}
    assert value(same, [MapSet.new([set]), MapSet.new([frozen])]) == {:ok, true}
    assert value(same, [MapSet.new([{set}]), MapSet.new([[frozen]])]) == {:ok, true}
  end

  defp value(data, item) do
    {:ok, expression} = Expression.new(data)
    Expression.eval(expression, item)
  end

  describe "vectors" do
    for row <- rows("expressions") do
      @row row
      test row["name"] do
        expression = new!(@row["expression"])
        assert expression.text == @row["text"]
        item = untag(@row["item"])

        case @row do
          %{"error" => [kind, at]} ->
            assert {:error, error} = Expression.eval(expression, item)
            assert error.reason == :expression
            assert Atom.to_string(error.details.kind) == kind
            if kind != "fail", do: assert(error.details.at == at)

          %{"value" => value} ->
            assert {:ok, got} = Expression.eval(expression, item)
            # By their bits: 0.0 == -0.0, and 1 == 1.0.
            assert :erlang.term_to_binary(got) == :erlang.term_to_binary(untag(value))
        end
      end
    end
  end

  describe "what Python would see" do
    test "an atom is its name" do
      expression = new!(["==", ["get", ["item"], "tier"], "gold"])
      assert Expression.eval(expression, %{tier: :gold}) == {:ok, true}
      assert Expression.eval(expression, %{"tier" => :gold}) == {:ok, true}
      assert Expression.eval(new!(["upper", ["item"]]), :gold) == {:ok, "GOLD"}
    end

    test "nil, true and the special floats are no names" do
      for special <- [nil, true, false, :nan, :infinity, :neg_infinity] do
        name = Atom.to_string(special)
        assert Expression.eval(new!(["==", ["item"], name]), special) == {:ok, false}
        assert Expression.eval(new!(["in", name, ["item"]]), %{special => 1}) == {:ok, false}
      end
    end

    test "a tuple is a list, and a value that is not looked at stays what it is" do
      assert Expression.eval(new!(["get", ["item"], 1]), {1, 2}) == {:ok, 2}
      assert Expression.eval(new!(["==", ["item"], ["list", [1, 2]]]), {1, 2}) == {:ok, true}
      assert Expression.eval(new!(["dict", [["a", ["item"]]]]), {1, 2}) == {:ok, %{"a" => {1, 2}}}
    end

    test "what can't be sent has no parts, no order and no length" do
      for operation <- [["get", ["item"], "a"], ["<", ["item"], 1], ["len", ["item"]]],
          value <- [self(), make_ref(), ~D[2024-01-01], fn -> 1 end, <<1::3>>] do
        assert {:error, %{reason: :expression}} = Expression.eval(new!(operation), value)
      end
    end

    test "text that is not UTF-8 fails the item" do
      for operation <- ~w(len lower upper strip split) do
        assert {:error, error} = Expression.eval(new!([operation, ["item"]]), <<255>>)
        assert error.details.kind == :type
      end
    end

    test "a key makes no atom" do
      name = "slither_never_an_atom_#{System.unique_integer([:positive])}"
      assert {:error, _} = Expression.eval(new!(["get", ["item"], name]), %{a: 1})
      assert_raise ArgumentError, fn -> String.to_existing_atom(name) end
      long = String.duplicate("x", 300)
      assert Expression.eval(new!(["in", long, ["item"]]), %{a: 1}) == {:ok, false}
    end
  end

  describe "eval/3" do
    test "gives skip's reason" do
      assert Expression.eval(new!(["skip", ["item"]]), "why") == {:skip, "why"}
    end

    test "names the expression and what failed in it" do
      data = [">=", ["get", ["get", ["item"], "a"], "b"], 0.8]
      assert {:error, error} = Expression.eval(new!(data), %{"a" => 3})

      assert error.message ==
               ~S(item["a"]["b"] >= 0.8 failed at item["a"]["b"]: ) <>
                 "only a dict or a list has parts, got int"

      assert error.details.expression == ~S(item["a"]["b"] >= 0.8)
    end

    test "gives the error of a policy" do
      {:ok, expression} = Expression.new(["get", ["error"], "reason"], allow: [:error])
      assert Expression.eval(expression, 1, %{"reason" => "timeout"}) == {:ok, "timeout"}
    end

    test "joins no text beyond 64 MiB" do
      half = String.duplicate("x", 0x2000001)
      assert {:error, error} = Expression.eval(new!(["+", ["item"], ["item"]]), half)
      assert error.details.kind == :range
    end
  end

  describe "new/2" do
    test "refuses what is no expression, and names the path" do
      assert refused(%{}) == "no expression: %{}"
      assert refused(["+", 1, []]) == "[2]: a list begins with an operation; got an empty one"
      assert refused(["+", 1, ["len", :a]]) == "[2][1]: no expression: :a"
      assert refused(["and", true]) == "and does not take these 1 operands"
      assert refused(["+", 1]) == "+ takes 2 operands, got 1"
      assert refused(["split"]) == "split takes 1 or 2 operands, got 0"
      assert refused(["itme"]) == ~S(unknown operation "itme". Did you mean "item"?)
      assert refused([1, 2]) == "no expression: [1, 2]"
      assert refused(["dict", [["a", 1], ["b"]]]) == "[1][1]: takes a key and a value"
      assert refused(["dict", [["a", 1], ["a", 2]]]) == "key \"a\" is there twice"
      assert refused(["dict", [[nil, 1]]]) == "[1][0][0]: a key is a str or an int, got nil"
      assert refused(["when", [[true, 1, 2]], 3]) == "[1][0]: takes a condition and a value"
      assert refused(["when", [], 3]) =~ "when does not take"
      assert refused(["list", [1, ["list", [["x"]]]]]) =~ "[1][1][1][0]: unknown operation"
    end

    test "refuses lists without an end, texts that are not UTF-8, and great ints" do
      assert refused(["+" | 1]) =~ "no expression"
      assert refused(["+", 1 | 2]) == "the list has no end"
      assert refused(["list", [1 | 2]]) == "[1]: the list has no end"
      assert refused(["dict", [["a", 1] | 2]]) == "[1]: the list has no end"
      assert refused(["len", <<255>>]) == "[1]: the str is not UTF-8"
      assert refused(["neg", 0x8000000000000000]) == "[1]: an int is beyond 64 bits"
    end

    test "allows skip, fail and error where they are told to" do
      assert refused(["skip", 1], allow: []) == "skip can't stand here"
      assert refused(["len", ["fail", 1]], allow: [:error]) == "[1]: fail can't stand here"
      assert refused(["error"]) == "error can't stand here"
    end

    test "takes what is as deep and as large as it may be, and no more" do
      assert {:ok, _} = Expression.new(nested(@deepest))
      assert refused(nested(@deepest + 1)) =~ "the expression is deeper than 64"
      assert {:ok, _} = Expression.new(["list", List.duplicate(1, 9_999)])

      assert refused(["list", List.duplicate(1, 10_000)]) ==
               "[1]: the expression has more than 10000 parts"
    end

    test "shows long expressions cut short" do
      text = new!(["list", List.duplicate("abcdef", 100)]).text
      assert String.length(text) == 200
      assert String.ends_with?(text, "…")
    end
  end
end
