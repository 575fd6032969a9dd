defmodule Slither.Test.PipeModel do
  @moduledoc false
  # Random pipes, and what must come out of one: an interpreter that takes all items through one
  # stage before it looks at the next. What a stage does with a payload follows from the two
  # alone (`act/2`), so that the pipe's handlers and the interpreter can't disagree about it.

  import Slither.Test.Generators

  alias Slither.Pipe.Definition
  alias Slither.Test.FunExecutor

  @outputs [:left, :right, :failed]

  @doc "A random pipe: its stages, each a map that says all of it."
  @spec pipe() :: [map]
  def pipe do
    count = :rand.uniform(5)
    # What comes as it is done has no order, and groups of it no fixed members.
    as_completed? = one_in(6)

    for place <- 1..count do
      later = Enum.drop(place..count, 1)

      kinds =
        [:beam, :beam, :router, :python, :python] ++ if(as_completed?, do: [], else: [:batch])

      %{
        name: :"s#{place}",
        place: place,
        kind: pick(kinds),
        hands: :rand.uniform(3),
        size: :rand.uniform(4),
        in_flight: :rand.uniform(3),
        ordering: if(as_completed? and one_in(2), do: :as_completed, else: :preserve),
        targets: Enum.map(later, &:"s#{&1}") ++ [:left, :right, :left],
        policy: policy(as_completed?),
        salt: :rand.uniform(1_000_000)
      }
    end
  end

  defp policy(as_completed?) do
    last = pick([:skip, {:route, :failed}, {:route, :left}])
    last = if not as_completed? and one_in(4), do: :halt, else: last
    if one_in(3), do: {:retry, max_attempts: 2, base_ms: 1, then: last}, else: last
  end

  @doc "What a stage makes of a payload."
  @spec act(map, term) :: term
  def act(stage, payload) do
    roll = :erlang.phash2({stage.salt, payload}, 100)
    target = Enum.at(stage.targets, rem(roll, length(stage.targets)))

    case stage.kind do
      :router -> if roll < 50, do: {:route, target}, else: {:ok, payload}
      :real -> {:ok, payload}
      _kind when roll < 8 -> :error
      :beam when roll < 16 -> :skip
      :beam when roll < 30 -> {:many, for(n <- Enum.drop(0..rem(roll, 4), 1), do: [payload, n])}
      _kind -> {:ok, [payload, stage.place]}
    end
  end

  ## The pipe itself

  @doc "The definition of a pipe; `pool` runs its stages of real Python."
  @spec definition([map], atom) :: Definition.t()
  def definition(stages, pool) do
    statements =
      for(output <- @outputs, do: {:output, 1, output}) ++
        for(s <- stages, do: {:stage, 1, s.name, type(s), options(s, pool)}) ++
        for(s <- stages, s.kind not in [:batch, :real], do: {:on_error, 1, s.name, s.policy})

    {:ok, definition} = Definition.build(:random, statements)
    definition
  end

  defp type(%{kind: :real}), do: :python
  defp type(stage), do: stage.kind

  defp options(%{kind: :batch} = stage, _pool), do: [size: stage.size]

  defp options(%{kind: :beam} = stage, _pool) do
    handler = fn item ->
      linger()

      case act(stage, item.payload) do
        :skip -> {:skip, :asked}
        :error -> raise "asked to fail"
        answer -> answer
      end
    end

    [handler: handler, concurrency: stage.hands]
  end

  defp options(%{kind: :router} = stage, _pool) do
    routes =
      for target <- Enum.uniq(stage.targets),
          do: {fn item -> act(stage, item.payload) == {:route, target} end, target}

    [routes: routes]
  end

  defp options(%{kind: :python} = stage, _pool) do
    run = fn payloads ->
      linger()
      {:ok, for(payload <- payloads, do: act(stage, payload) |> result())}
    end

    [executor: FunExecutor, executor_options: [fun: run], isolate: true] ++ batching(stage)
  end

  defp options(%{kind: :real} = stage, pool),
    do: [module: "flow_handlers", function: "identity", pool: pool] ++ batching(stage)

  defp batching(stage),
    do: [batch_size: stage.size, max_in_flight: stage.in_flight, ordering: stage.ordering]

  defp result({:ok, payload}), do: payload

  defp linger, do: if(one_in(3), do: Process.sleep(:rand.uniform(3) - 1))

  ## The interpreter

  @doc "What comes out of inputs, as `{output, payload}` in order, and the stage that halts."
  @spec outcome([map], list) :: {[{atom, term}], halted :: atom | nil}
  def outcome(stages, inputs) do
    entries = for {input, n} <- Enum.with_index(inputs), do: {[n], :next, input}
    {entries, halted} = Enum.reduce(stages, {entries, nil}, &stage/2)
    {for({_seq, to, payload} <- entries, do: {output(to), payload}), halted}
  end

  defp output({:to, output}), do: output
  defp output(:next), do: :default

  # An entry is `{seq, :next | {:to, stage_or_output}, payload}`.
  defp stage(stage, {entries, halted}) do
    passes? = fn {_seq, to, _payload} -> to not in [:next, {:to, stage.name}] end
    made = if stage.kind == :batch, do: groups(entries, stage, passes?)
    made = made || Enum.flat_map(entries, &if(passes?.(&1), do: [&1], else: answer(stage, &1)))

    case Enum.split_while(made, &(&1 != :halt)) do
      {all, []} -> {all, halted}
      # Every later failure is ahead of this one in the input.
      {before, _failed_and_behind} -> {before, stage.name}
    end
  end

  defp answer(stage, {seq, _to, payload}) do
    case act(stage, payload) do
      {:ok, payload} -> [{seq, :next, payload}]
      {:route, target} -> [{seq, {:to, target}, payload}]
      :skip -> []
      {:many, all} -> for {one, n} <- Enum.with_index(all), do: {seq ++ [n], :next, one}
      :error -> failed(stage.policy, seq, payload)
    end
  end

  defp failed({:retry, options}, seq, payload), do: failed(options[:then], seq, payload)
  defp failed({:route, target}, seq, payload), do: [{seq, {:to, target}, payload}]
  defp failed(:skip, _seq, _payload), do: []
  defp failed(:halt, _seq, _payload), do: [:halt]

  # A group has the place of its last item.
  defp groups(entries, stage, passes?) do
    {past, here} = Enum.split_with(entries, passes?)

    groups =
      for group <- Enum.chunk_every(here, stage.size) do
        {seq, _to, _payload} = List.last(group)
        {seq, :next, for({_seq, _to, payload} <- group, do: payload)}
      end

    Enum.sort_by(past ++ groups, &elem(&1, 0))
  end
end
