defmodule Slither.Python.RegisteredTest do
  # Types of the user's own, on both sides of a live port.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Complex, Decimal, FrozenSet, Tagged, TimeDelta, UUID}
  alias Slither.Test.Encodables.{Money, Point, User}

  setup do
    %{pool: ready_pool(size: 1)}
  end

  defp price(cents), do: Tagged.new("slither_test.Price", {"EUR", cents})

  defp run(pool, function, items, options \\ []) do
    options =
      [module: "registered", function: function, pool: pool, timeout: patience()] ++ options

    {:ok, results} = Slither.dispatch(items, options)
    results
  end

  test "a tagged value is an object in Python from the first call on, and tagged here", %{
    pool: pool
  } do
    for _ <- 1..2 do
      results = run(pool, "doubled", [price(5), price(7)])
      assert Enum.map(results, & &1.payload) == [price(10), price(14)]
    end
  end

  test "one that Python can't make fails its own item", %{pool: pool} do
    for _ <- 1..2 do
      assert [first, wrong, last] =
               run(pool, "doubled", [price(5), price(-1), price(7)], on_error: :skip)

      assert {first.payload, last.payload} == {price(10), price(14)}
      error = Exception.message(wrong.meta.error)
      assert error =~ "could not decode a slither_test.Price: ValueError: no price is -1"
    end
  end

  test "structs go as Slither.Encodable says", %{pool: pool} do
    items = [%Point{x: 1, y: 2}, %Money{currency: "EUR", amount: 5}, {%User{id: 1}}]
    assert Enum.map(run(pool, "kinds", items), & &1.payload) == ["dict", "Tagged", "tuple"]

    assert [ok, wrong] = run(pool, "kinds", [%Point{}, %URI{}], on_error: :skip)
    assert ok.payload == "dict"

    assert Exception.message(wrong.meta.error) =~
             "%URI{} can't be sent; send URI.to_string(value)"
  end

  test "values of each type are what they should be in Python", %{pool: pool} do
    values = [
      {~D[2024-01-02], "date"},
      {~T[01:02:03], "time"},
      {~N[2024-01-02 01:02:03], "datetime"},
      {TimeDelta.new(days: 1), "timedelta"},
      {Decimal.new("1.10"), "Decimal"},
      {UUID.new(<<1::128>>), "UUID"},
      {Complex.new(1, 2), "complex"},
      {Slither.Path.new("a/b"), "PosixPath"},
      {Slither.Path.new("a/b", :pure_windows), "PureWindowsPath"},
      {MapSet.new([1]), "set"},
      {FrozenSet.new([1]), "frozenset"},
      {{1, 2}, "tuple"},
      {Tagged.new("nobody's", 1), "Tagged"}
    ]

    {sent, names} = Enum.unzip(values)
    assert Enum.map(run(pool, "kinds", sent), & &1.payload) == names
  end

  test "a DateTime in a zone has that zone in Python", %{pool: pool} do
    moment = %DateTime{
      ~U[2024-07-01 12:00:00.000000Z]
      | utc_offset: 3_600,
        std_offset: 3_600,
        time_zone: "Europe/Berlin",
        zone_abbr: "CEST"
    }

    assert [result] = run(pool, "zones", [moment])
    assert result.payload == ["Europe/Berlin", "CEST", "2024-07-01T12:00:00+02:00"]
  end
end
