defmodule Slither.Pipe.RandomPipesTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators

  alias Slither.Pipe.{Definition, Runner}
  alias Slither.Test.{PipeModel, Pools}

  # Whatever way items take through a pipe, what comes out is what one item after the other would
  # have given, in the order of the input. RANDOM_PIPES says how many pipes are tried each time.
  @cases String.to_integer(System.get_env("RANDOM_PIPES", "150"))
  @moduletag timeout: :infinity
  # A run that takes so long hangs.
  @patience 60_000
  @counts [:in, :out, :expanded, :skipped, :routed]

  setup_all do
    {:ok, pool: Pools.start!(__MODULE__, preload: ["flow_handlers"])}
  end

  setup do
    dir = Path.join(System.tmp_dir!(), "slither-random-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)
    {:ok, dir: dir}
  end

  defp pipe_and_input, do: {PipeModel.pipe(), Enum.to_list(1..(:rand.uniform(40) - 1)//1)}

  # One stage of the kind `:python` runs in real workers.
  defp with_real_python do
    {stages, input} = pipe_and_input()
    {for(s <- stages, do: if(s.kind == :python, do: %{s | kind: :real}, else: s)), input}
  end

  defp within(fun) do
    task = Task.async(fun)
    Task.yield(task, @patience) || flunk("no end: #{inspect(Process.info(task.pid, :messages))}")
  end

  defp ordered?(stages), do: Enum.all?(stages, &(&1.ordering == :preserve))

  # What has no order is compared without one.
  defp compared(outputs, stages),
    do: if(ordered?(stages), do: outputs, else: Enum.sort(outputs))

  defp by_output(outputs, definition) do
    empty = Map.new(definition.outputs, &{&1, []})
    Map.merge(empty, Enum.group_by(outputs, &elem(&1, 0), &elem(&1, 1)))
  end

  defp plain(outputs, stages) do
    Map.new(outputs, fn {name, items} ->
      {name, items |> Enum.map(&payload/1) |> compared(stages)}
    end)
  end

  defp payload(%Slither.Item{payload: payload}), do: payload
  defp payload(payload), do: payload

  defp run_as_modelled({stages, input}, pool, options \\ []) do
    definition = PipeModel.definition(stages, pool)
    {expected, halted} = PipeModel.outcome(stages, input)
    {:ok, answer} = within(fn -> Runner.run(definition, input, [receipt: true] ++ options) end)

    {seen, receipt} =
      case answer do
        {:ok, outputs, receipt} ->
          assert halted == nil
          {outputs, receipt}

        {:error, error, outputs, receipt} ->
          assert error.stage == halted
          {outputs, receipt}
      end

    assert plain(seen, stages) == expected |> by_output(definition) |> plain(stages)
    account(receipt, halted, length(input), length(expected))
    Enum.each(receipt.stages, fn {_name, part} -> balanced(part) end)
    if halted == nil, do: assert(counted(receipt) == PipeModel.counts(stages, input))
  end

  defp balanced(account) do
    ended = account.out + account.skipped + account.routed + account.failed
    assert account.in + account.expanded == ended
  end

  defp counted(receipt) do
    for {name, part} <- receipt.stages do
      errors = part.errors |> Map.values() |> Enum.sum()
      {name, part |> Map.take(@counts) |> Map.put(:errors, errors)}
    end
  end

  defp account(receipt, halted, count, out) do
    balanced(receipt)

    if halted == nil,
      do: assert({receipt.in, receipt.failed, receipt.out + receipt.routed} == {count, 0, out}),
      else: assert(receipt.out + receipt.routed >= out)
  end

  test "run/3 gives what one item after the other would have given", %{pool: pool} do
    check_all(@cases, &pipe_and_input/0, &run_as_modelled(&1, pool))
  end

  test "real Python makes no difference", %{pool: pool} do
    check_all(div(@cases, 3), &with_real_python/0, &run_as_modelled(&1, pool))
  end

  test "stream/3 gives the same, in the order of the input across outputs", %{pool: pool} do
    check_all(@cases, &pipe_and_input/0, fn {stages, input} ->
      {expected, halted} = PipeModel.outcome(stages, input)
      definition = PipeModel.definition(stages, pool)

      {:ok, {seen, error}} =
        within(fn ->
          Process.put(:seen, [])

          try do
            for {output, item} <- Runner.stream(definition, input),
                do: Process.put(:seen, [{output, item.payload} | Process.get(:seen)])

            {Enum.reverse(Process.get(:seen)), nil}
          rescue
            error -> {Enum.reverse(Process.get(:seen)), error}
          end
        end)

      assert (error && error.stage) == halted
      assert compared(seen, stages) == compared(expected, stages)
    end)
  end

  test "the sinks of a long-running pipe get the same, in order", %{pool: pool} do
    check_all(@cases, &unhalting/0, fn {stages, input} ->
      {expected, nil} = PipeModel.outcome(stages, input)
      definition = PipeModel.definition(stages, pool)
      test = self()
      tag = make_ref()
      sinks = for o <- definition.outputs, do: {o, &send(test, {tag, {o, &1.payload}})}
      name = {__MODULE__, tag}
      {:ok, pid} = Slither.Pipe.start_link(definition, name: name, sinks: sinks)

      for some <- Enum.chunk_every(input, 7), do: :ok = Slither.Pipe.push(name, some)
      assert :ok = Slither.Pipe.drain(name, @patience)
      assert {:ok, status} = Slither.Pipe.status(name)
      accounted(status, PipeModel.counts(stages, input), length(expected))
      Supervisor.stop(pid)
      assert compared(delivered(tag), stages) == compared(expected, stages)
    end)
  end

  defp accounted(%{counts: counts} = status, expected, out) do
    assert %{inside: 0, failed: 0, lost: 0} = counts
    balanced(counts)
    assert counts.out + counts.routed == out
    assert status.outputs |> Map.values() |> Enum.sum() == out

    for {stage, {name, sums}} <- Enum.zip(status.stages, expected) do
      assert {stage.name, Map.take(stage, @counts)} == {name, Map.take(sums, @counts)}
      assert %{batching: 0, queued: 0, running: 0, retrying: 0, finished: 0} = stage.waiting
    end
  end

  test "each pusher is told once what became of each item, after its sinks ran", %{pool: pool} do
    check_all(@cases, &unhalting/0, fn {stages, input} ->
      definition = PipeModel.definition(stages, pool)
      name = {__MODULE__, make_ref()}
      {:ok, pid} = Slither.Pipe.start_link(definition, name: name)

      # Some pushes are acknowledged and some not, so that both kinds are inside together.
      pushed =
        for {some, n} <- input |> Enum.chunk_every(5) |> Enum.with_index() do
          asked = if one_in(3), do: [], else: [ack: {name, n}]
          :ok = Slither.Pipe.push(name, some, asked)
          {n, some, asked != []}
        end

      assert :ok = Slither.Pipe.drain(name, @patience)
      Supervisor.stop(pid)
      seen = acks(name, %{})
      fates = PipeModel.fates(stages, input)

      expected =
        for {n, some, true} <- pushed, {_item, at} <- Enum.with_index(some), into: %{} do
          {{n, at}, [Enum.at(fates, 5 * n + at)]}
        end

      assert seen == expected
    end)
  end

  # By push and index, all that was told of an item.
  defp acks(name, seen) do
    receive do
      {Slither.Pipe, :ack, {^name, n}, outcomes} ->
        outcomes
        |> Enum.reduce(seen, fn {at, outcome}, seen ->
          Map.update(seen, {n, at}, [kind(outcome)], &[kind(outcome) | &1])
        end)
        |> then(&acks(name, &1))
    after
      0 -> seen
    end
  end

  defp kind(:ok), do: :ok
  defp kind({:routed, _output, error}) when is_exception(error), do: :routed
  defp kind({:skipped, error}) when is_exception(error), do: :skipped
  defp kind({:skipped, _reason}), do: :filtered
  defp kind(other), do: other

  test "a checkpoint's run that fails fails again at the same place", context do
    check_all(div(@cases, 3), &halting/0, fn {stages, input} ->
      path = Path.join(context.dir, "#{System.unique_integer([:positive])}.checkpoint")
      definition = PipeModel.definition(stages, context.pool)
      {_all, halted} = PipeModel.outcome(stages, input)
      expected = PipeModel.finished(stages, input)
      run = fn -> Runner.run(definition, input, checkpoint: path) end

      for _attempt <- 1..2 do
        assert {:ok, {:error, error, outputs}} = within(run)
        assert error.stage == halted
        assert plain(outputs, stages) == expected |> by_output(definition) |> plain(stages)
      end
    end)
  end

  test "a checkpoint's run, cut short and gone on with, gives each once and in order", context do
    check_all(@cases, &resumable/0, fn {stages, input} ->
      path = Path.join(context.dir, "#{System.unique_integer([:positive])}.checkpoint")
      definition = PipeModel.definition(stages, context.pool)
      stop_after = :rand.uniform(length(input) + 1) - 1

      {:ok, _some} =
        within(fn ->
          definition |> Runner.stream(input, checkpoint: path) |> Enum.take(stop_after)
        end)

      {:ok, {:ok, outputs}} = within(fn -> Runner.run(definition, input, checkpoint: path) end)
      {expected, nil} = PipeModel.outcome(stages, input)
      assert plain(outputs, stages) == expected |> by_output(definition) |> plain(stages)
    end)
  end

  defp unhalting do
    {stages, input} = pipe_and_input()
    if match?({_, nil}, PipeModel.outcome(stages, input)), do: {stages, input}, else: unhalting()
  end

  defp halting do
    {stages, input} = pipe_and_input()
    halts? = match?({_, stage} when stage != nil, PipeModel.outcome(stages, input))
    batches? = Enum.any?(stages, &(&1.kind == :batch))
    if halts? and not batches?, do: {stages, input}, else: halting()
  end

  defp resumable do
    {stages, input} = unhalting()
    if Enum.any?(stages, &(&1.kind == :batch)), do: resumable(), else: {stages, input}
  end

  defp delivered(tag) do
    receive do
      {^tag, output} -> [output | delivered(tag)]
    after
      0 -> []
    end
  end

  test "a definition of every pipe can be built", %{pool: pool} do
    check_all(@cases, &PipeModel.pipe/0, &assert(%Definition{} = PipeModel.definition(&1, pool)))
  end
end
