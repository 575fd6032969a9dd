defmodule Slither.Proof.Soak.Load do
  @moduledoc false
  # What keeps a pool busy until it is told to stop: one endless stream, and loops of everything
  # else. Each counts what it did; one that finds a wrong result crashes, and the run with it.

  alias Slither.{Bytes, Dispatch, DispatchError, Item, Session}
  alias Slither.Proof.Soak.Features

  @counts [
    :items,
    :failed,
    :dispatches,
    :sessions,
    :sessions_lost,
    :pipe_items,
    :bytes,
    :writes,
    :exits,
    :timeouts
  ]

  # ms between deaths, and between hangs.
  @exit_every 5_000
  @hang_every 20_000

  @enforce_keys [:pool, :counters, :flag]
  defstruct [:pool, :counters, :flag]

  @doc "Begins; `stop/2` ends it."
  @spec start(atom) :: {%__MODULE__{}, [Task.t()]}
  def start(pool) do
    load = %__MODULE__{
      pool: pool,
      counters: :counters.new(length(@counts), []),
      flag: :atomics.new(1, [])
    }

    loops = [
      &stream/1,
      &dispatches/1,
      &sessions/1,
      &pipes/1,
      &blobs/1,
      &writes/1,
      &exits/1,
      &hangs/1
    ]

    {load, Enum.map(loops, fn loop -> Task.async(fn -> loop.(load) end) end)}
  end

  @doc "Ends it, once what is out is done; what was done, by name."
  @spec stop(%__MODULE__{}, [Task.t()]) :: %{atom => non_neg_integer}
  def stop(load, loops) do
    :atomics.put(load.flag, 1, 1)
    _ = Task.await_many(loops, :infinity)
    counts(load)
  end

  @doc "What was done by now."
  @spec counts(%__MODULE__{}) :: %{atom => non_neg_integer}
  def counts(load) do
    for {name, index} <- Enum.with_index(@counts, 1),
        into: %{},
        do: {name, :counters.get(load.counters, index)}
  end

  ## The loops

  # One run for the whole time, of items without end.
  defp stream(load) do
    Stream.iterate(1, &(&1 + 1))
    |> Stream.map(&%{"id" => &1, "key" => Features.key(&1), "text" => "item #{&1} of many"})
    |> Stream.take_while(fn _item -> on?(load) end)
    |> Dispatch.stream([function: "score", batch_size: 50, on_error: :skip] ++ handler(load))
    |> Enum.each(fn
      %Item{meta: %{error: _}} ->
        count(load, :failed, 1)

      %Item{payload: %{"id" => id, "score" => score}} ->
        true = id > 0 and is_number(score)
        count(load, :items, 1)
    end)
  end

  defp dispatches(load) do
    repeat(load, fn n ->
      numbers = Enum.to_list(n..(n + 299))
      retry = [max_attempts: 2, base_ms: 1, then: :skip]

      options = [
        function: "picky",
        batch_size: 30,
        isolate: true,
        on_error: {:retry, retry},
        receipt: true
      ]

      {:ok, items, receipt} = Slither.dispatch(numbers, options ++ handler(load))
      bad = Enum.count(numbers, &(rem(&1, 211) == 7))
      %{in: 300, failed: 0, out: out, skipped: skipped} = receipt
      # A death or a hang of somebody else's call costs this one nothing.
      true = out + skipped == 300 and skipped == bad
      true = Enum.count(items, & &1.meta[:skipped]) == bad
      count(load, :dispatches, 1)
      count(load, :items, out)
      count(load, :failed, skipped)
    end)
  end

  defp sessions(load) do
    repeat(load, fn n ->
      id = "soak-#{n}"
      options = [function: "add_up", batch_size: 10, session_id: id] ++ handler(load)

      for round <- 1..3 do
        case Slither.dispatch(Enum.to_list(1..20), options) do
          {:ok, items} ->
            sum = List.last(items).payload
            true = sum == 210 * round
            count(load, :items, 20)

          # Its worker was one that was to die.
          {:error, %DispatchError{reason: reason}, _partial}
          when reason in [:session_lost, :worker_died] ->
            count(load, :sessions_lost, 1)
        end
      end

      :ok = Session.stop(id)
      count(load, :sessions, 1)
    end)
  end

  defp pipes(load) do
    pipe =
      Slither.Pipe.build!(:soak, [
        {:stage, 1, :prepare, :beam, [handler: fn item, _context -> item.payload * 2 end]},
        {:stage, 2, :double, :python, [function: "echo", batch_size: 20] ++ handler(load)}
      ])

    repeat(load, fn n ->
      {:ok, %{default: items}} = Slither.run_pipe(pipe, Enum.to_list(n..(n + 99)))
      true = Enum.map(items, & &1.payload) == Enum.map(n..(n + 99), &(&1 * 2))
      count(load, :pipe_items, 100)
    end)
  end

  # Large values, of other sizes each time.
  defp blobs(load) do
    repeat(load, fn n ->
      blob = Bytes.new(:binary.copy("#{n}", 10_000 + rem(n * 7_919, 200_000)))
      {:ok, [%{payload: ^blob}]} = Slither.dispatch([blob], [function: "echo"] ++ handler(load))
      count(load, :bytes, byte_size(blob.data))
      pause(20)
    end)
  end

  defp writes(load) do
    repeat(load, fn n ->
      :ok = Features.write(n)
      count(load, :writes, 1)
      if rem(n, 50) == 0, do: pause(5)
    end)
  end

  defp exits(load), do: failing(load, "leave", :worker_died, :exits, @exit_every)
  defp hangs(load), do: failing(load, "hang", :timeout, :timeouts, @hang_every)

  defp failing(load, function, reason, name, every) do
    repeat(load, fn _n ->
      wait(load, every)
      options = [function: function, on_error: :skip] ++ handler(load)
      options = Keyword.put(options, :timeout, if(reason == :timeout, do: 300, else: 60_000))
      {:ok, [%{meta: %{error: %{reason: ^reason}}}]} = Slither.dispatch([1], options)
      count(load, name, 1)
    end)
  end

  ## What they share

  defp handler(load),
    do: [pool: load.pool, module: "soak_handlers", timeout: 60_000, max_in_flight: 4]

  defp repeat(load, fun, n \\ 1) do
    if on?(load) do
      fun.(n)
      repeat(load, fun, n + 1)
    end
  end

  defp on?(load), do: :atomics.get(load.flag, 1) == 0

  defp wait(_load, ms) when ms <= 0, do: :ok
  defp wait(load, ms), do: if(on?(load), do: pause(100) && wait(load, ms - 100), else: :ok)

  defp pause(ms), do: receive(after: (ms -> :ok))

  defp count(load, name, number) do
    index = Enum.find_index(@counts, &(&1 == name)) + 1
    :counters.add(load.counters, index, number)
  end
end
