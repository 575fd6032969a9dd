defmodule Slither.Python.ItemTimeoutTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError, Item}

  # ms that an item may take: those that don't hang take next to none.
  @limit 1_000

  setup do
    %{pool: ready_pool(size: 2, window: 2), path: path("begun")}
  end

  defp run(context, function, hows, options \\ []) do
    items = for {how, n} <- Enum.with_index(hows), do: [context.path, n, how]
    module = [module: "timed_handlers", function: function, pool: context.pool]
    limits = [item_timeout: @limit, on_error: :skip, batch_size: 100, timeout: :infinity]
    Dispatch.run(items, Keyword.merge(module ++ limits, options))
  end

  # Names of items by what became of them: their results, or the reason of their errors.
  defp ends(items), do: Enum.map(items, &item_end/1)

  defp item_end(%Item{meta: %{error: error}, payload: [_path, n, _how]}), do: {n, error.reason}
  defp item_end(%Item{payload: [n, _os_pid]}), do: n

  defp begun(context), do: context.path |> File.read!() |> String.split("\n", trim: true)
  defp plain(count), do: List.duplicate("", count)

  describe "a function of one item" do
    for how <- ["sleep", "lock"] do
      test "that hangs (#{how}) fails alone, and no other item runs twice", context do
        hows = plain(10) ++ [unquote(how)] ++ plain(9)
        {:ok, items} = run(context, "one", hows)

        assert ends(items) == Enum.to_list(0..9) ++ [{10, :timeout}] ++ Enum.to_list(11..19)
        assert Enum.sort(begun(context)) == Enum.sort(Enum.map(0..19, &Integer.to_string/1))

        error = Enum.at(items, 10).meta.error
        assert %DispatchError{batch: 0, item: 10, cause: cause} = error

        assert Exception.message(cause) =~
                 "the item ran for more than 1000 ms; its worker was killed (raise item_timeout:"

        assert cause.details.timeout == @limit
        refute Map.has_key?(cause.details, :at)
      end
    end

    test "may take all of its time in each item of a batch", context do
      hows = List.duplicate("brief 0.3", 6)
      {:ok, items} = run(context, "one", hows)
      assert ends(items) == Enum.to_list(0..5)
      assert [_one_worker] = items |> Enum.map(&List.last(&1.payload)) |> Enum.uniq()
    end

    test "that hangs first, last, alone and several times is told each time", context do
      for hows <- [
            ["sleep"],
            ["sleep", "", ""],
            ["", "", "sleep"],
            ["sleep", "", "lock", "sleep", ""]
          ] do
        {:ok, items} = run(context, "one", hows)

        assert ends(items) ==
                 for(
                   {how, n} <- Enum.with_index(hows),
                   do: if(how == "", do: n, else: {n, :timeout})
                 )
      end
    end

    test "ends a run with what came before it", context do
      hows = plain(5) ++ ["sleep"] ++ plain(5)
      assert {:error, error, items} = run(context, "one", hows, on_error: :halt)
      assert %DispatchError{reason: :timeout, item: 5} = error
      assert ends(items) == [0, 1, 2, 3, 4]
      refute "6" in begun(context)
    end

    test "is tried again alone", context do
      policy = {:retry, max_attempts: 2, base_ms: 1, then: :skip}
      {:ok, items} = run(context, "one", ["", "sleep", ""], on_error: policy)
      assert ends(items) == [0, {1, :timeout}, 2]
      assert Enum.at(items, 1).meta.error.attempts == 2
      assert Enum.sort(begun(context)) == ["0", "1", "1", "2"]
    end

    test "has its time from when it begins, not from when its module is imported", context do
      options = [module: "timed_slow_import", function: "one", pool: context.pool]
      assert {:ok, [%Item{payload: 1}]} = Dispatch.run([1], options ++ [item_timeout: @limit])
    end

    test "raises as ever", context do
      {:ok, items} = run(context, "raises", ["", "raise", "exit", ""])

      assert [%{payload: 0}, late, exit, %{payload: 3}] = items

      assert %{reason: :python_exception, cause: %{python: %{type: "TimeoutError"}}} =
               late.meta.error

      assert %{reason: :python_exception, cause: %{python: %{type: "SystemExit"}}} =
               exit.meta.error
    end

    test "fails the items that can't be sent, beside one that hangs", context do
      items = [[context.path, 0, ""], self(), [context.path, 2, "sleep"], [context.path, 3, ""]]
      options = [module: "timed_handlers", function: "one", pool: context.pool, on_error: :skip]
      {:ok, items} = Dispatch.run(items, options ++ [item_timeout: @limit])

      reasons = for item <- items, do: item.meta[:error] && item.meta.error.reason
      assert reasons == [nil, :not_encodable, :timeout, nil]
    end

    test "is streamed, and a stream that nobody reads does not count", context do
      hows = plain(40)
      items = for {how, n} <- Enum.with_index(hows), do: [context.path, n, how]
      options = [module: "timed_handlers", function: "one", pool: context.pool, batch_size: 40]
      stream = Dispatch.stream(items, options ++ [item_timeout: 300, max_in_flight: 1])

      read =
        Enum.map(stream, fn item ->
          if length(begun(context)) == 20, do: Process.sleep(700)
          item_end(item)
        end)

      assert read == Enum.to_list(0..39)
    end
  end

  describe "a function of a list" do
    test "has the time of its items together", context do
      {:ok, items} = run(context, "listed", List.duplicate("brief 0.4", 5))
      assert ends(items) == Enum.to_list(0..4)

      {:ok, items} = run(context, "listed", ["", "sleep", ""], item_timeout: 100)
      assert [{0, :timeout}, {1, :timeout}, {2, :timeout}] = ends(items)

      assert Exception.message(hd(items).meta.error) =~
               "the call ran for more than 300 ms (100 ms for each of 3 items); its worker was " <>
                 "killed (raise item_timeout:"
    end

    test "is split until the item at fault is alone", context do
      hows = plain(3) ++ ["sleep"] ++ plain(4)
      {:ok, items} = run(context, "listed", hows, isolate: true, item_timeout: 200)
      assert ends(items) == [0, 1, 2, {3, :timeout}, 4, 5, 6, 7]
    end

    test "that yields keeps what it has yielded", context do
      {:ok, items} = run(context, "yielded", ["", "", "sleep", ""], item_timeout: 200)
      assert ends(items) == [0, 1, {2, :timeout}, {3, :timeout}]
    end
  end

  describe "an async function of one item" do
    test "is cancelled alone, and its worker stays", context do
      hows = plain(3) ++ ["wait"] ++ plain(6) ++ ["wait"] ++ plain(5)
      {:ok, items} = run(context, "waits", hows)
      late = [3, 10]
      assert ends(items) == for(n <- 0..15, do: if(n in late, do: {n, :timeout}, else: n))
      done = Enum.reject(items, & &1.meta[:error])
      assert [_one_worker] = done |> Enum.map(&List.last(&1.payload)) |> Enum.uniq()

      assert Exception.message(Enum.at(items, 3).meta.error) =~
               "the item ran for more than 1000 ms; it was cancelled (raise item_timeout:)"
    end

    for how <- ["sleep", "lock", "deaf"] do
      test "that goes on all the same (#{how}) is ended with its worker", context do
        hows = plain(6) ++ [unquote(how)] ++ plain(6)
        {:ok, items} = run(context, "waits", hows)
        assert ends(items) == for(n <- 0..12, do: if(n == 6, do: {n, :timeout}, else: n))
      end
    end
  end

  test "does not go with many values of an item", context do
    many = [cardinality: :many, item_timeout: 10]
    assert {:error, %{reason: :invalid_option} = error, []} = run(context, "one", [""], many)
    assert Exception.message(error) =~ "item_timeout: goes with cardinality: :one alone"
  end

  test "an executor on BEAM has the time of its items together", _context do
    options = [executor: Slither.Test.FunExecutor, item_timeout: 20, on_error: :skip]
    fun = fn _items -> receive do: (:never -> :ok) end
    {:ok, [a, b]} = Dispatch.run([1, 2], options ++ [executor_options: [fun: fun]])
    assert a.meta.error.reason == :timeout

    assert Exception.message(b.meta.error) =~
             "the executor ran for more than 40 ms (20 ms for each of 2 items)"
  end

  test "each item has one end, wherever others hang", context do
    hows = for _ <- 1..60, do: Enum.random(["", "", "", "", "", "", "", "lock"])
    options = [batch_size: 7, item_timeout: 300, receipt: true, max_in_flight: 4]
    {:ok, items, receipt} = run(context, "one", hows, options)

    assert ends(items) ==
             for({how, n} <- Enum.with_index(hows), do: if(how == "", do: n, else: {n, :timeout}))

    hung = Enum.count(hows, &(&1 == "lock"))
    assert %{in: 60, skipped: ^hung, failed: 0} = receipt
    assert receipt.out == 60 - hung
  end
end
