defmodule Slither.Run.VerdictTest do
  use ExUnit.Case, async: true

  alias Slither.{Context, DispatchError, Error, Item, PipeError}
  alias Slither.Run.{Batch, Plan, Policy, Verdict}

  @error %Error{reason: :python_exception, message: "no"}

  defp plan(on_error, isolate \\ false) do
    %Plan{
      mode: {:local, &Function.identity/1},
      policy: Policy.new!(on_error),
      context: %Context{stage: :here},
      isolate: isolate
    }
  end

  defp batch(seqs, fields \\ []) do
    entries = for seq <- seqs, do: {seq, %Item{id: {:id, seq}, payload: seq}}
    struct!(%Batch{group: 0, number: 7, entries: entries}, fields)
  end

  defp skipped(verdicts) do
    for {:settled, {:mixed, outcomes}} <- verdicts,
        {seq, :skipped, item} <- outcomes,
        do: {seq, item.meta.error}
  end

  describe "answered/4" do
    test "decides the items that have values, with them" do
      assert [
               {:settled, {:ok, [{1, %Item{payload: :a, meta: meta}}, {3, %Item{payload: :c}}]}}
               | _
             ] = Verdict.answered(plan(:skip), batch([1, 2, 3]), [:a, nil, :c], %{1 => @error})

      assert meta == %{}
    end

    test "decides nothing of values where all have failed" do
      errors = %{0 => @error, 1 => @error}
      verdicts = Verdict.answered(plan(:skip), batch([1, 2]), [nil, nil], errors)
      assert [{:settled, {:mixed, [_, _]}}] = verdicts
    end

    test "skips the others under :skip, each with its own error, which names it" do
      verdicts = Verdict.answered(plan(:skip), batch([1, 2]), [:a, nil], %{1 => @error})

      assert [{2, %DispatchError{} = error}] = skipped(verdicts)

      assert error == %DispatchError{
               reason: :python_exception,
               stage: :here,
               batch: 7,
               item: {:id, 2},
               attempts: 1,
               cause: @error
             }
    end

    test "halts at the first that failed; those that were decided before it are kept" do
      policy = {:route, fn %Item{payload: seq}, _ -> if seq == 2, do: nil, else: :out end}
      errors = %{0 => @error, 1 => @error, 2 => @error}
      verdicts = Verdict.answered(plan(policy), batch([1, 2, 3]), [nil, nil, nil], errors)

      assert [
               {:halt, 2, %DispatchError{reason: :policy_failed, item: {:id, 2}}},
               {:settled, {:mixed, [{1, {:routed, :out}, %Item{route: :out}}]}}
             ] = verdicts
    end

    test "tries those again that can be mended, together, after the longest pause" do
      retry = {:retry, max_attempts: 3, base_ms: 10, jitter: false, on: [:python_exception]}
      other = %{@error | reason: :not_encodable}
      errors = %{0 => @error, 1 => other, 2 => @error}
      verdicts = Verdict.answered(plan(retry), batch([1, 2, 3]), [nil, nil, nil], errors)

      assert [{:halt, 2, %DispatchError{reason: :not_encodable}}, {:retry, again, 10}] = verdicts
      assert %Batch{attempt: 2, number: 7, given_back: 0, early: 0} = again
      assert [{1, _}, {3, _}] = again.entries
    end
  end

  describe "failed/3" do
    test "fails all items, and names one only where it is alone" do
      verdicts = Verdict.failed(plan(:skip), batch([1, 2]), @error)
      assert [{1, %{item: nil}}, {2, %{item: nil}}] = skipped(verdicts)

      assert [{1, %{item: {:id, 1}}}] =
               plan(:skip) |> Verdict.failed(batch([1]), @error) |> skipped()
    end

    test "says how often the items were tried" do
      retry = {:retry, max_attempts: 2, base_ms: 0, then: :skip}
      verdicts = Verdict.failed(plan(retry), batch([1], attempt: 2), @error)
      assert [{:settled, {:mixed, [{1, :skipped, %Item{meta: meta}}]}}] = verdicts
      assert %{attempts: 2, skipped: true, error: %DispatchError{attempts: 2}} = meta
    end

    test "keeps what a handler on BEAM has said" do
      error = %PipeError{stage: :own, reason: :handler_raised, cause: :why}
      assert [{:halt, 1, halt}] = Verdict.failed(plan(:halt), batch([1]), error)
      assert halt == %{error | item: {:id, 1}}
    end

    test "splits a batch that is to be isolated, until an item is alone" do
      whole = batch([1, 2, 3], given_back: 2, early: 1, attempt: 2)
      assert {:split, [left, right]} = Verdict.failed(plan(:halt, true), whole, @error)
      assert %Batch{entries: [{1, _}], given_back: 0, early: 0, attempt: 2} = left
      assert %Batch{entries: [{2, _}, {3, _}], given_back: 0, early: 0, attempt: 2} = right
      assert [{:halt, 1, _}] = Verdict.failed(plan(:halt, true), left, @error)
    end

    test "splits what cost a worker into more parts: single items where they are few" do
      for reason <- [:timeout, :memory, :worker_died],
          {count, sizes} <- [{2, [1, 1]}, {16, ones(16)}] do
        assert {reason, parts(reason, count)} == {reason, sizes}
      end

      assert parts(:timeout, 17) == [5, 5, 5, 2]
      assert parts(:timeout, 64) == List.duplicate(8, 8)
      assert parts(:timeout, 1_000) == List.duplicate(32, 31) ++ [8]
      assert parts(:python_exception, 64) == [32, 32]
    end

    defp ones(count), do: List.duplicate(1, count)

    defp parts(reason, count) do
      seqs = Enum.to_list(1..count)
      error = %Error{reason: reason, message: "it ended"}
      assert {:split, parts} = Verdict.failed(plan(:halt, true), batch(seqs), error)
      assert Enum.flat_map(parts, &for({seq, _item} <- &1.entries, do: seq)) == seqs
      Enum.map(parts, &length(&1.entries))
    end

    test "splits nothing for a failure that halves would meet as well" do
      error = %Error{reason: :unknown_command, message: "none"}
      assert [{:halt, 1, _}] = Verdict.failed(plan(:halt, true), batch([1, 2]), error)
    end

    test "of all items, whatever fails how, each is decided or tried again once" do
      for seed <- 1..200 do
        :rand.seed(:exsss, {seed, seed, seed})
        seqs = Enum.take_random(1..9, :rand.uniform(9))
        values = for _ <- seqs, do: :value
        bad = for {_, at} <- Enum.with_index(seqs), :rand.uniform(2) == 1, do: at
        errors = Map.new(bad, &{&1, %{@error | reason: Enum.random([:a, :b])}})
        policy = {:retry, max_attempts: 3, jitter: false, on: [:a], then: :skip}
        verdicts = Verdict.answered(plan(policy), batch(seqs), values, errors)

        decided =
          Enum.flat_map(verdicts, fn
            {:settled, {:ok, entries}} -> Enum.map(entries, &elem(&1, 0))
            {:settled, {:mixed, outcomes}} -> Enum.map(outcomes, &elem(&1, 0))
            {:retry, again, _pause} -> Enum.map(again.entries, &elem(&1, 0))
          end)

        assert Enum.sort(decided) == Enum.sort(seqs)
      end
    end
  end
end
