defmodule Slither.Dispatch.BytesTest do
  use ExUnit.Case, async: true

  alias Slither.Dispatch
  alias Slither.Test.{GateExecutor, Pools, Telemetry}

  @pool __MODULE__
  @mega 1_000_000

  setup_all do
    {:ok, pool: Pools.start!(@pool, preload: ["flow_handlers"])}
  end

  defp gated(input, options) do
    test = self()
    options = [executor: GateExecutor, executor_options: [test: test], batch_size: 1] ++ options
    Task.async(fn -> Dispatch.run(input, options) end)
  end

  # What enters, as the batches' sizes in MB and the process to release.
  defp entered do
    assert_receive {:entered, _stage, pid, payloads}, Pools.patience()
    {pid, payloads |> Enum.map(&div(byte_size(&1), @mega)) |> Enum.sum()}
  end

  defp megabytes(count), do: String.duplicate("x", count * @mega)

  describe "max_in_flight_bytes" do
    test "holds batches back that would go beyond it, and pulls no further than one batch" do
      test = self()
      input = Stream.map([2, 2, 2, 2, 2], &(send(test, :pulled) && megabytes(&1)))
      run = gated(input, max_in_flight: 8, max_in_flight_bytes: 5 * @mega)

      {first, 2} = entered()
      {second, 2} = entered()
      # Two are out and the third, which is beyond the limit, waits.
      for _ <- 1..3, do: assert_receive(:pulled, Pools.patience())
      refute_received :pulled
      refute_received {:entered, _, _, _}

      send(first, :release)
      {third, 2} = entered()
      for pid <- [second, third], do: send(pid, :release)

      for _ <- 1..2 do
        {pid, 2} = entered()
        send(pid, :release)
      end

      assert {:ok, items} = Task.await(run)
      assert length(items) == 5
    end

    test "lets an item that is larger go alone" do
      run = gated([megabytes(1), megabytes(9), megabytes(1)], max_in_flight_bytes: 4 * @mega)

      for size <- [1, 9, 1] do
        {pid, ^size} = entered()
        refute_received {:entered, _, _, _}
        send(pid, :release)
      end

      assert {:ok, [_, _, _]} = Task.await(run)
    end

    test "lets retries and halves go under the limit" do
      {:ok, tries} = Agent.start_link(fn -> 0 end)

      fun = fn payloads ->
        if Agent.get_and_update(tries, &{&1, &1 + 1}) < 4,
          do: {:error, :no},
          else: {:ok, payloads}
      end

      options = [
        executor: Slither.Test.FunExecutor,
        executor_options: [fun: fun],
        batch_size: 2,
        isolate: true,
        max_in_flight_bytes: 10,
        on_error: {:retry, max_attempts: 9, base_ms: 0}
      ]

      assert {:ok, items} = Dispatch.run(["aaaaaaaaaaaa", "b", "c", "d"], options)
      assert Enum.map(items, & &1.payload) == ["aaaaaaaaaaaa", "b", "c", "d"]
    end

    test "bounds what a run of large results holds, as telemetry shows" do
      Telemetry.listen([[:slither, :dispatch, :batch, :stop]])
      name = Pools.unique(:bytes)

      options = [
        module: "flow_handlers",
        function: "identity",
        pool: @pool,
        batch_size: 1,
        max_in_flight: 8,
        max_in_flight_bytes: 2 * @mega,
        session_id: "#{name}"
      ]

      input = Stream.map(1..20, fn _ -> :binary.copy("y", 900_000) end)
      assert input |> Dispatch.stream(options) |> Enum.count() == 20

      for _ <- 1..20 do
        assert_receive {:event, _, %{bytes: bytes, result_bytes: back, held_bytes: held},
                        %{pool: @pool}}

        assert bytes in 900_000..901_000 and back in 900_000..901_000
        assert held in 1..(3 * @mega)
      end
    end

    # Inputs of a few bytes, each of which becomes a MB.
    test "counts the results that are to come" do
      test = self()

      options = [
        module: "flow_handlers",
        function: "grow",
        pool: @pool,
        batch_size: 1,
        max_in_flight: 8,
        max_in_flight_bytes: 3 * @mega
      ]

      input = Stream.map(1..30, &(send(test, {:pulled, &1}) && &1))
      results = input |> Dispatch.stream(options) |> Stream.with_index()

      for {%{payload: %Slither.Bytes{data: data}}, taken} <- results do
        assert byte_size(data) == @mega
        # Before the first, nobody knows how large they are.
        if taken > 8, do: assert(pulled(0) - taken <= 5)
      end
    end

    defp pulled(last) do
      receive do
        {:pulled, n} -> pulled(n)
      after
        0 -> send(self(), {:pulled, last}) && last
      end
    end

    test "is measured only where it is set" do
      Telemetry.listen([[:slither, :dispatch, :batch, :stop]])
      options = [module: "flow_handlers", function: "identity", pool: @pool]
      assert {:ok, [_]} = Dispatch.run(["text"], options)

      assert_receive {:event, _, %{bytes: bytes, held_bytes: 0}, %{pool: @pool}}
                     when bytes > 4
    end
  end
end
