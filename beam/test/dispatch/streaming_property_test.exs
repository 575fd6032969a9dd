defmodule Slither.Dispatch.StreamingPropertyTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators
  import Slither.Test.Pools

  alias Slither.{Dispatch, DispatchError}

  # What a handler does with each row is in the row; a model says what must become of it.
  # Between parts and answer, retries and splits, each item must end once, as the model has it,
  # and none that BEAM has the result of may run again.

  @attempts 3

  # Each death takes the start of a worker, on whatever machine.
  @moduletag timeout: 300_000

  setup_all do
    {:ok, pool: start!(__MODULE__)}
  end

  defp run(pool, acts, log, options) do
    File.write!(log, "")

    rows =
      for {act, n} <- Enum.with_index(acts) do
        row = %{"n" => n, "act" => act, "log" => log}
        if act == "unsendable", do: Map.put(row, "pid", self()), else: row
      end

    options = [module: "stream_handlers", pool: pool, timeout: patience()] ++ options
    Dispatch.run(rows, [receipt: true] ++ options)
  end

  defp function, do: pick(["scripted", "async_scripted"])

  defp yielded(log) do
    log |> File.read!() |> String.split() |> Enum.map(&String.to_integer/1) |> Enum.frequencies()
  end

  ## The model: one call over `[{n, act}]`, and what the policy makes of it

  # `{decided, rest, reason}`: outcomes of the items that the call decides one by one, and those
  # that fail together for a reason.
  defp call(items, attempt) do
    sent = for {n, act} <- items, act != "unsendable", do: {n, act}

    case Enum.split_while(sent, &(not ends?(elem(&1, 1), attempt))) do
      {_none, []} when sent == [] -> {singly(items, attempt), [], nil}
      {all, []} -> ended(items, all, attempt)
      {yielded, [{_n, act} | _]} -> cut(items, length(yielded), reason(act), attempt)
    end
  end

  defp ended(items, sent, attempt) do
    if Enum.any?(sent, &(elem(&1, 1) == "over")),
      do: cut(items, length(sent) - 1, :wrong_result, attempt),
      else: {singly(items, attempt), [], nil}
  end

  # Parts reach up to the last of the results; what could not be sent stands before those.
  defp cut(items, count, reason, attempt) do
    {done, rest} = split_sent(items, count, [])
    {singly(done, attempt), rest, reason}
  end

  defp split_sent(items, 0, done), do: {Enum.reverse(done), items}

  defp split_sent([{_, "unsendable"} = item | items], count, done),
    do: split_sent(items, count, [item | done])

  defp split_sent([item | items], count, done), do: split_sent(items, count - 1, [item | done])

  defp ends?("raise twice", attempt), do: attempt < 3
  defp ends?(act, _attempt), do: act in ["raise", "stop"]

  defp reason("stop"), do: :wrong_result
  defp reason(_raise), do: :python_exception

  defp singly(items, attempt), do: for({n, act} <- items, do: {{n, act}, single(act, attempt)})

  defp single("unsendable", _attempt), do: :not_encodable
  defp single("object", _attempt), do: :not_encodable
  defp single("fail", _attempt), do: :handler_failure
  defp single("fail twice", attempt) when attempt < 3, do: :handler_failure
  defp single(_act, _attempt), do: :ok

  # The end of each item, `%{n => {:ok, attempts} | {reason, attempts}}`.
  defp outcomes([], _attempt, _how), do: %{}

  defp outcomes(items, attempt, how) do
    {decided, rest, reason} = call(items, attempt)
    {good, bad} = Enum.split_with(decided, &(elem(&1, 1) == :ok))
    ends = for {{n, _act}, :ok} <- good, into: %{}, do: {n, {:ok, attempt}}
    ends = Map.merge(ends, again(bad, attempt, how))

    if how.isolate and length(rest) > 1 do
      {left, right} = Enum.split(rest, div(length(rest), 2))
      [left, right] |> Enum.map(&outcomes(&1, attempt, how)) |> Enum.reduce(ends, &Map.merge/2)
    else
      Map.merge(ends, again(Enum.map(rest, &{&1, reason}), attempt, how))
    end
  end

  # Those that may be mended are tried again together.
  defp again(bad, attempt, how) do
    {retry, final} =
      Enum.split_with(bad, fn {_item, reason} ->
        how.retry and attempt < @attempts and reason != :not_encodable
      end)

    ends = for {{n, _act}, reason} <- final, into: %{}, do: {n, {reason, attempt}}
    Map.merge(ends, outcomes(Enum.map(retry, &elem(&1, 0)), attempt + 1, how))
  end

  defp model(acts, size, how) do
    acts
    |> Enum.with_index(fn act, n -> {n, act} end)
    |> Enum.chunk_every(size)
    |> Enum.map(&outcomes(&1, 1, how))
    |> Enum.reduce(%{}, &Map.merge/2)
  end

  defp found(items) do
    for item <- items do
      attempts = Map.get(item.meta, :attempts, 1)

      case item.meta[:error] do
        nil -> {item.payload, {:ok, attempts}}
        %DispatchError{reason: reason} -> {item.payload["n"], {reason, attempts}}
      end
    end
  end

  defp script do
    acts =
      ["ok", "ok", "ok", "fail", "fail twice", "object", "unsendable"] ++
        ["raise", "raise twice", "stop", "over"]

    # Mostly fine, or hardly ever.
    rare = :rand.uniform(40)
    acts = many(:rand.uniform(60), fn -> if one_in(rare), do: pick(acts), else: "ok" end)
    {acts, :rand.uniform(30)}
  end

  test "each item ends once, as its script says, under skip, retry and isolate", %{pool: pool} do
    log = path("log")

    check_all(150, &script/0, fn {acts, size} ->
      how = %{retry: one_in(2), isolate: one_in(2)}
      retry = {:retry, max_attempts: @attempts, base_ms: 0, then: :skip}
      ordering = pick([:preserve, :as_completed])

      options = [
        function: function(),
        batch_size: size,
        ordering: ordering,
        isolate: how.isolate,
        on_error: if(how.retry, do: retry, else: :skip)
      ]

      assert {:ok, items, receipt} = run(pool, acts, log, options)
      found = found(items)
      assert length(found) == length(acts)

      if ordering == :preserve,
        do: assert(Enum.map(found, &elem(&1, 0)) == Enum.to_list(0..(length(acts) - 1)))

      expected = model(acts, size, how)
      assert Map.new(found) == expected

      good = Enum.count(expected, &match?({_n, {:ok, _}}, &1))
      total = length(acts)
      skipped = total - good
      assert %{in: ^total, out: ^good, skipped: ^skipped, failed: 0, routed: 0} = receipt
      assert %{late: 0, duplicate: 0} = receipt

      # Only the last of a call that went wrong after all of them may be made again.
      unless "over" in acts do
        made = yielded(log)
        for {n, {:ok, _}} <- expected, Enum.at(acts, n) == "ok", do: assert(made[n] == 1)
      end
    end)
  end

  test "a run that halts has what comes before the failure, and no more", %{pool: pool} do
    log = path("log")

    check_all(100, &script/0, fn {acts, size} ->
      isolate = one_in(2)
      options = [function: function(), batch_size: size, isolate: isolate, on_error: :halt]
      expected = model(acts, size, %{retry: false, isolate: isolate})
      good = Enum.take_while(0..(length(acts) - 1), &match?({:ok, _}, expected[&1]))

      case run(pool, acts, log, options) do
        {:ok, items, _receipt} ->
          assert length(good) == length(acts)
          assert Enum.map(items, & &1.payload) == good

        {:error, error, items, receipt} ->
          assert Enum.map(items, & &1.payload) == good
          assert {error.reason, 1} == expected[length(good)]
          assert receipt.out == length(good)
          assert receipt.in == receipt.out + receipt.failed
      end
    end)
  end

  test "each item ends once where workers die midway", %{pool: pool} do
    log = path("log")

    script = fn ->
      deadly = many(2, fn -> :rand.uniform(30) - 1 end)
      {for(n <- 0..29, do: if(n in deadly, do: "die", else: "ok")), :rand.uniform(30)}
    end

    check_all(5, script, fn {acts, size} ->
      retry = {:retry, max_attempts: 2, base_ms: 0, then: :skip}

      options = [
        function: function(),
        batch_size: size,
        isolate: true,
        on_error: pick([:skip, retry]),
        ordering: pick([:preserve, :as_completed])
      ]

      assert {:ok, items, receipt} = run(pool, acts, log, options)

      # Alone with its kind an item that kills is skipped; all others come through.
      for {n, {reason, _attempts}} <- found(items) do
        expected = if Enum.at(acts, n) == "die", do: :worker_died, else: :ok
        assert {n, reason} == {n, expected}
      end

      assert items |> found() |> Enum.map(&elem(&1, 0)) |> Enum.sort() == Enum.to_list(0..29)
      assert %{in: 30, failed: 0, late: 0, duplicate: 0} = receipt
    end)
  end
end
