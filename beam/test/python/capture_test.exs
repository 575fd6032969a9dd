defmodule Slither.Python.CaptureTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  import Slither.Test.{Lifecycle, Pools}

  alias Slither.DispatchError
  alias Slither.Protocol.Decoder
  alias Slither.Python.{Capture, Environment}
  alias Slither.Store.Server

  @module """
  import os
  import time
  from slither import store, views
  from slither.worker import Failure, item_handler

  def rates(items):
      rates = store.table("capture_test_rates")
      found = [views.capture_test_price(key=item) * rates[item] for item in items]
      found += [len(rates), sorted(rates.items()), views.map("capture_test_price", [{"key": "a"}])]
      return [100 / price if isinstance(price, int) else 0 for price in found][:len(items)]

  @item_handler
  def each(item):
      return 100 / item

  def on_purpose(items):
      return [Failure("odd") for _ in items]

  def leave(items):
      views.capture_test_price(key="a")
      os._exit(7)

  def hang(items):
      views.capture_test_price(key="a")
      time.sleep(600)

  def fail(items):
      raise ValueError(f"no {items[0]}")
  """

  defmodule Prices do
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :capture_test_rates, python: :read_write}]

    @impl true
    def views do
      price = fn %{"key" => key} -> if key == "zero", do: 0, else: String.length(key) end
      [%{name: :capture_test_price, scope: :global, handler: price}]
    end

    @impl true
    def load(tables) do
      :ets.insert(tables[:capture_test_rates], for(key <- ["a", "zero"], do: {key, 2}))
      :ok
    end
  end

  setup_all do
    start_supervised!({Server, Prices})
    :ok
  end

  setup do
    folder = own_module("captured", @module)
    {:ok, folder: folder, dir: Path.join(folder, "failures")}
  end

  describe "a batch that fails" do
    test "is written, and runs again with what views and tables answered", context do
      pool = start(context)
      assert {:ok, 50.0} = run_one(pool, "rates", "a")
      assert files(context.dir) == []

      assert {:error, %DispatchError{cause: cause} = error} = run_one(pool, "rates", "zero")
      assert [path] = files(context.dir)
      assert cause.details.capture == path
      assert Exception.message(error) =~ "run it again with: python -m slither.replay #{path}"
      assert Bitwise.band(File.stat!(path).mode, 0o777) == 0o600
      assert Bitwise.band(File.stat!(context.dir).mode, 0o777) == 0o700

      # What BEAM says by now makes no difference.
      Server.put(Prices, :capture_test_rates, "zero", 3)
      assert {output, 1} = replay(path)
      assert output =~ "ZeroDivisionError: division by zero"
      assert output =~ ~r/then +python_exception: ZeroDivisionError/
      assert output =~ "handler   captured.rates, 1 items, batch 0"

      write_module(context.folder, "captured", String.replace(@module, "100 / price", "100"))
      assert {output, 0} = replay(path)
      assert output =~ "now       it succeeds"

      write_module(context.folder, "captured", String.replace(@module, "key=item", "key=1"))
      assert {output, 1} = replay(path)
      assert output =~ "no answer is recorded for view 'capture_test_price' with {'key': 1}"
    end

    test "is written where items of it raise, with a hint for each", context do
      pool = start(context)
      options = captured(pool, "each", on_error: :skip)
      assert {:ok, [_one, zero, _two]} = Slither.dispatch([1, 0, 2], options)
      assert [path] = files(context.dir)
      assert zero.meta.error.cause.hint =~ path
      assert {output, 1} = replay(path)
      assert output =~ "item 1: " and output =~ "ZeroDivisionError"
    end

    test "is none where items fail on purpose, or can't be sent", context do
      pool = start(context)
      assert {:error, %{reason: :handler_failure}} = run_one(pool, "on_purpose", 1)
      assert {:error, %{reason: :not_encodable}} = run_one(pool, "each", self())
      assert files(context.dir) == []
    end

    test "is written when its worker dies, and when it is over its time", context do
      pool = start(context)
      assert {:error, %DispatchError{cause: died}} = run_one(pool, "leave", 1)
      assert {output, 7} = replay(died.details.capture)
      assert output =~ "1 recorded answers"

      assert {:error, %DispatchError{cause: late}} = run_one(pool, "hang", 1, timeout: 500)
      assert late.reason == :timeout
      assert %{"error" => %{"kind" => "timeout"}} = facts(late.details.capture)
      assert length(files(context.dir)) == 2
    end

    test "is written by attempt, and for one dispatch where that asks for it", context do
      pool = start(context, capture_failures: nil)
      assert {:error, error} = run_one(pool, "fail", "luck")
      refute Map.has_key?(error.cause.details, :capture)

      retry = {:retry, max_attempts: 2, base_ms: 1}
      options = [capture_failures: context.dir, on_error: retry]
      assert {:error, %{attempts: 2}} = run_one(pool, "fail", "luck", options)
      assert [_first, _second] = files(context.dir)
    end
  end

  describe "files" do
    test "are kept up to a number, the newest", context do
      pool = start(context, capture_failures: [dir: context.dir, max_files: 2])

      paths =
        for n <- 1..4 do
          assert {:error, error} = run_one(pool, "fail", n)
          error.cause.details.capture
        end

      assert files(context.dir) == Enum.take(paths, -2)
    end

    test "are kept up to a number of bytes", context do
      pool = start(context, capture_failures: [dir: context.dir, max_bytes: 50_000])
      item = String.duplicate("a", 9_000)

      paths =
        for _ <- 1..3 do
          assert {:error, error} = run_one(pool, "fail", item, timeout: 5_000)
          error.cause.details[:capture]
        end

      assert files(context.dir) == [List.last(paths)]
    end

    test "that can't be written change nothing, and are told of once", context do
      File.write!(context.dir, "in the way")
      pool = start(context)
      listen_all()
      for _ <- 1..3, do: assert({:error, %{reason: :python_exception}} = run_one(pool, "fail", 1))
      assert_receive {:warned, text}
      assert text =~ "a failed batch was not written to #{context.dir}: "
      refute_received {:warned, _text}
      assert File.read!(context.dir) == "in the way"
    end

    test "that would take more than they may are not written", context do
      pool = start(context, capture_failures: [dir: context.dir, max_bytes: 1_000])
      listen_all()
      assert {:error, error} = run_one(pool, "fail", String.duplicate("a", 2_000))
      assert_receive {:warned, text}
      assert text =~ "bytes, of max_bytes: 1000"
      assert error.cause.hint == nil
      assert files(context.dir) == []
    end

    test "hold no more of what was asked than fits, and say so", context do
      pool = start(context, capture_failures: [dir: context.dir, max_bytes: 8_000])
      # Each question takes some 100 bytes with its answer.
      keys = List.duplicate("a", 200) ++ ["zero"]
      options = captured(pool, "rates", batch_size: 500)
      assert {:error, %DispatchError{cause: cause}, []} = Slither.dispatch(keys, options)
      assert %{"cut" => true} = facts(cause.details.capture)
      assert {output, 1} = replay(cause.details.capture)
      assert output =~ "the recording was cut, as it was over its limit"
    end
  end

  test "capture_failures: takes a folder, or what goes with it" do
    for good <- [nil, "x", [dir: "x", max_files: 1, max_bytes: 1]],
        do: assert(Capture.valid?(good))

    for bad <- [:x, [], [dir: 1], [dir: "x", most: 1]], do: refute(Capture.valid?(bad))

    assert {:error, error, []} =
             Slither.dispatch([1], module: "m", function: "f", capture_failures: :here)

    assert Exception.message(error) =~
             "option :capture_failures takes a folder (a string), a keyword list of dir:"
  end

  defp start(context, options \\ []) do
    defaults = [paths: [context.folder], capture_failures: context.dir, preload: ["captured"]]
    ready_pool(Keyword.merge(defaults, options))
  end

  defp captured(pool, function, options),
    do: options(pool, function, [module: "captured"] ++ options)

  defp run_one(pool, function, payload, options \\ []),
    do: call(pool, function, payload, [module: "captured"] ++ options)

  defp files(dir) do
    case File.ls(dir) do
      {:ok, names} -> names |> Enum.sort() |> Enum.map(&Path.join(dir, &1))
      {:error, :enoent} -> []
    end
  end

  defp facts(path) do
    <<"SLITHERC", 1::32, crc::32, rest::binary>> = File.read!(path)
    assert crc == :erlang.crc32(rest)
    <<size::32, facts::binary-size(size), _entries::binary>> = rest
    {:ok, facts} = Decoder.decode(facts)
    facts
  end

  defp replay(path) do
    {:ok, python} = Environment.interpreter(nil)
    # Where it is set, nothing is lost that a buffer holds when the process ends.
    env = [{"PYTHONPATH", Path.expand("../../../python", __DIR__)}, {"PYTHONUNBUFFERED", nil}]
    options = [stderr_to_stdout: true, env: env, cd: System.tmp_dir!()]
    System.cmd(python, ["-m", "slither.replay", path], options)
  end

  # Warnings of lanes have no pool in their metadata.
  defp listen_all do
    id = unique(:capture_log)
    :ok = :logger.add_handler(id, __MODULE__, %{config: self()})
    on_exit(fn -> :logger.remove_handler(id) end)
  end

  @doc false
  def log(%{msg: {:string, text}}, %{config: test}) do
    text = IO.chardata_to_string(text)
    if text =~ "a failed batch was not written", do: send(test, {:warned, text})
  end

  def log(_event, _config), do: :ok
end
