defmodule Slither.Test.PipeModel do
  @moduledoc false
  # Random pipes, and what must come out of one: an interpreter that takes all items through one
  # stage before it looks at the next. What a stage does with a payload follows from the two
  # alone (`act/2`), so that the pipe's handlers and the interpreter can't disagree about it.

  import Slither.Test.Generators

  alias Slither.Dispatch.Strategies.{FixedBatch, KeyPartition, WeightedBatch}
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
        strategy: pick([FixedBatch, FixedBatch, WeightedBatch, KeyPartition]),
        batch_handler?: one_in(3),
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
      :beam when roll < 38 -> {:route, target}
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

    definition = Slither.Pipe.build!(:random, statements)
    definition
  end

  defp type(%{kind: :real}), do: :python
  defp type(stage), do: stage.kind

  defp options(%{kind: :batch} = stage, _pool), do: [size: stage.size]

  # A batch handler that raises would fail all its items, so it answers for each.
  defp options(%{kind: :beam, batch_handler?: true} = stage, _pool) do
    handler = fn items ->
      linger()

      for item <- items do
        with :error <- answer_of(stage, item), do: {:error, "asked to fail"}
      end
    end

    [batch_handler: handler, concurrency: stage.hands]
  end

  defp options(%{kind: :beam} = stage, _pool) do
    handler = fn item ->
      linger()
      with :error <- answer_of(stage, item), do: raise("asked to fail")
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

  defp batching(stage) do
    [max_in_flight: stage.in_flight, ordering: stage.ordering, strategy: stage.strategy] ++
      case stage.strategy do
        FixedBatch ->
          [batch_size: stage.size]

        WeightedBatch ->
          [max_weight: 2 * stage.size, weight_fn: &(1 + :erlang.phash2(&1.payload, 2))]

        KeyPartition ->
          [window: 2 * stage.size, key_fn: &:erlang.phash2(&1.payload, 3)]
      end
  end

  defp answer_of(stage, item) do
    case act(stage, item.payload) do
      :skip -> {:skip, :asked}
      {:route, target} -> {:route, target, item.payload}
      {:ok, payload} when rem(stage.salt, 2) == 0 -> %{item | payload: payload}
      answer -> answer
    end
  end

  defp result({:ok, payload}), do: payload

  defp linger, do: if(one_in(3), do: Process.sleep(:rand.uniform(3) - 1))

  ## The interpreter

  @doc "What comes out of inputs, as `{output, payload}` in order, and the stage that halts."
  @spec outcome([map], list) :: {[{atom, term}], halted :: atom | nil}
  def outcome(stages, inputs) do
    {entries, halted} = ends(stages, inputs)
    {outputs(entries), halted && elem(halted, 0)}
  end

  @doc "What comes out of the inputs that are finished when a stage halts the run."
  @spec finished([map], list) :: [{atom, term}]
  def finished(stages, inputs) do
    {entries, {_stage, failed}} = ends(stages, inputs)
    outputs(for({[input | _], _to, _payload} = entry when input < failed <- entries, do: entry))
  end

  # The entries that reach an output, and the stage that halts with its input's position.
  defp ends(stages, inputs), do: Enum.reduce(stages, {entries(inputs), nil}, &stage/2)

  defp outputs(entries), do: for({_seq, to, payload} <- entries, do: {output(to), payload})

  @doc """
  What each stage counts in a run that nothing halts, and how many errors meet its policy.
  """
  @spec counts([map], list) :: [{atom, map}]
  def counts(stages, inputs) do
    {counts, _entries} =
      Enum.map_reduce(stages, entries(inputs), fn stage, entries ->
        {made, nil} = stage(stage, {entries, nil})
        here = Enum.reject(entries, &passes?(&1, stage))
        {{stage.name, count(stage, here)}, made}
      end)

    counts
  end

  # From the best to the worst.
  @fates [:filtered, :ok, :skipped, :routed]

  @doc """
  What becomes of each input of a run that nothing halts, the worst of what was made of it:
  `:filtered` by a handler, `:ok`, `:skipped` or `:routed` by a policy.
  """
  @spec fates([map], list) :: [atom]
  def fates(stages, inputs) do
    entries = for {[n] = seq, to, payload} <- entries(inputs), do: {seq, to, payload, [n]}
    {out, ended} = Enum.reduce(stages, {entries, []}, &followed/2)

    ends =
      for {_seq, to, _payload, of} <- out,
          do: {if(match?({:policy, _}, to), do: :routed, else: :ok), of}

    met = for {fate, of} <- ends ++ ended, n <- of, reduce: %{}, do: (map -> worse(map, n, fate))
    for {_input, n} <- Enum.with_index(inputs), do: Map.fetch!(met, n)
  end

  defp worse(met, n, fate),
    do: Map.update(met, n, fate, &Enum.max_by([&1, fate], fn f -> index(f) end))

  defp index(fate), do: Enum.find_index(@fates, &(&1 == fate))

  defp followed(stage, {entries, ended}) do
    {past, here} =
      Enum.split_with(entries, fn {_, to, _, _} -> to not in [:next, {:to, stage.name}] end)

    {made, more} =
      if stage.kind == :batch,
        do: {Enum.map(Enum.chunk_every(here, stage.size), &group/1), []},
        else: here |> Enum.map(&fate(stage, &1)) |> Enum.unzip()

    {Enum.sort_by(past ++ List.flatten(made), &elem(&1, 0)), List.flatten(more) ++ ended}
  end

  defp group(members) do
    {seq, _to, _payload, _of} = List.last(members)
    payload = for {_seq, _to, payload, _of} <- members, do: payload
    {seq, :next, payload, members |> Enum.flat_map(&elem(&1, 3)) |> Enum.uniq()}
  end

  # What goes on of an entry, and what ends there.
  defp fate(stage, {seq, _to, payload, of}) do
    case {act(stage, payload), final(stage.policy)} do
      {:error, {:route, output}} -> {[{seq, {:policy, output}, payload, of}], []}
      {:error, :skip} -> {[], [{:skipped, of}]}
      {answer, _policy} when answer in [:skip, {:many, []}] -> {[], [{:filtered, of}]}
      _on -> {for({seq, to, p} <- answer(stage, {seq, :next, payload}), do: {seq, to, p, of}), []}
    end
  end

  defp count(%{kind: :batch} = stage, here) do
    groups = div(length(here) + stage.size - 1, stage.size)
    sums(%{in: length(here), out: groups, expanded: groups - length(here)})
  end

  defp count(stage, here) do
    for {_seq, _to, payload} <- here, reduce: sums(%{in: length(here)}) do
      sums ->
        case {act(stage, payload), final(stage.policy)} do
          {:skip, _policy} -> more(sums, skipped: 1)
          {{:many, []}, _policy} -> more(sums, skipped: 1)
          {{:many, all}, _policy} -> more(sums, out: length(all), expanded: length(all) - 1)
          {:error, :skip} -> more(sums, skipped: 1, errors: 1)
          {:error, {:route, _output}} -> more(sums, routed: 1, errors: 1)
          _on_or_routed -> more(sums, out: 1)
        end
    end
  end

  defp sums(known),
    do: Map.merge(%{in: 0, out: 0, expanded: 0, skipped: 0, routed: 0, errors: 0}, known)

  defp more(sums, counts),
    do: Enum.reduce(counts, sums, fn {key, n}, sums -> Map.update!(sums, key, &(&1 + n)) end)

  defp final({:retry, options}), do: options[:then]
  defp final(policy), do: policy

  defp entries(inputs), do: for({input, n} <- Enum.with_index(inputs), do: {[n], :next, input})

  defp output({:to, output}), do: output
  defp output(:next), do: :default

  # An entry is `{seq, :next | {:to, stage_or_output}, payload}`.
  defp stage(stage, {entries, halted}) do
    passes? = &passes?(&1, stage)
    made = if stage.kind == :batch, do: groups(entries, stage, passes?)
    made = made || Enum.flat_map(entries, &if(passes?.(&1), do: [&1], else: answer(stage, &1)))

    case Enum.split_while(made, &(not match?({:halt, _input}, &1))) do
      {all, []} -> {all, halted}
      # Every later failure is ahead of this one in the input.
      {before, [{:halt, input} | _behind]} -> {before, {stage.name, input}}
    end
  end

  defp passes?({_seq, to, _payload}, stage), do: to not in [:next, {:to, stage.name}]

  defp answer(stage, {seq, _to, payload}) do
    case act(stage, payload) do
      {:ok, payload} -> [{seq, :next, payload}]
      {:route, target} -> [{seq, {:to, target}, payload}]
      :skip -> []
      {:many, all} -> for {one, n} <- Enum.with_index(all), do: {seq ++ [n], :next, one}
      :error -> failed(final(stage.policy), seq, payload)
    end
  end

  defp failed({:route, target}, seq, payload), do: [{seq, {:to, target}, payload}]
  defp failed(:skip, _seq, _payload), do: []
  defp failed(:halt, [input | _], _payload), do: [{:halt, input}]

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
