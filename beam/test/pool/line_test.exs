defmodule Slither.Pool.LineTest do
  use ExUnit.Case, async: true

  import Slither.Test.Generators, only: [check_all: 3, many: 2, pick: 1]

  alias Slither.Pool.{Ledger, Line, Waiter}

  defp waiter(ref, options \\ []),
    do: struct!(%Waiter{ref: ref, owner: self(), inbox: {self(), :key}}, options)

  defp line(waiters), do: Enum.reduce(waiters, %Line{}, &Line.put(&2, &1))
  defp refs(waiters), do: Enum.map(waiters, & &1.ref)

  test "each queue keeps its order, and a session that moves comes before its calls" do
    move = waiter(:move, session: "s", worker: self(), service: :move)
    common = [waiter(:a), waiter(:b, session: "s"), waiter(:c), waiter(:d, session: "s"), move]
    line = line(common)
    assert refs(Line.all(line, nil)) == [:a, :c]
    assert refs(Line.all(line, "s")) == [:move, :b, :d]
    assert Line.first(line, "s").ref == :move
    assert {Line.first(line, "t"), Line.all(line, "t"), Line.count(line)} == {nil, [], 5}
    assert Line.key(waiter(:e, worker: self())) == {:worker, self()}
    assert refs(Line.calls(line)) == [:a, :b, :c, :d]
  end

  test "who is taken out is in no queue, of no owner and late no more" do
    other = spawn(fn -> :ok end)
    line = line([waiter(:a, deadline: 5), waiter(:b, owner: other), waiter(:c, deadline: 3)])

    assert {Line.deadline(line), Line.late(line, 2), Line.late(line, 3).ref} == {3, nil, :c}

    assert {%Waiter{ref: :c}, line} = Line.take(line, :c)
    assert {nil, ^line} = Line.take(line, :c)

    assert {Line.deadline(line), Line.late(line, 9).ref, Line.of(line, self())} == {5, :a, [:a]}

    {_waiter, line} = Line.take(line, :a)
    assert {Line.deadline(line), Line.of(line, self()), Line.of(line, other)} == {nil, [], [:b]}
    {_waiter, line} = Line.take(line, :b)
    assert {Line.waits?(line, nil), Line.count(line)} == {false, 0}
  end

  test "whatever comes and goes, it says what a list would" do
    check_all(200, fn -> many(40, &step/0) end, fn steps ->
      {line, list} = Enum.reduce(Enum.with_index(steps), {%Line{}, []}, &apply_step/2)
      assert Line.count(line) == length(list)
      assert Line.deadline(line) == Enum.min(for(%{deadline: at} <- list, do: at), fn -> nil end)
      assert refs(Line.calls(line)) == refs(list)

      for key <- [nil, "a", "b"],
          do: assert(refs(Line.all(line, key)) == refs(Enum.filter(list, &(Line.key(&1) == key))))

      assert Line.asked(line) == list |> Enum.map(& &1.asked) |> Enum.min(fn -> nil end)
    end)
  end

  test "who waits the longest is known though another has come ahead" do
    waiters = [waiter(:a, session: "s", asked: 1), waiter(:b, session: "s", asked: 2)]
    move = waiter(:c, session: "s", service: :move, asked: 3)
    line = Enum.reduce(waiters ++ [move], %Line{}, &Line.put(&2, &1))
    assert %Waiter{ref: :c} = Line.first(line, "s")
    assert Line.asked(line) == 1
    {_a, line} = Line.take(line, :a)
    assert Line.asked(line) == 2
  end

  describe "priorities" do
    # Requests come a ms after each other, each by the clock of `asked`.
    defp urgent(ref, at, options \\ []),
      do: waiter(ref, [priority: :urgent, asked: native(at)] ++ options)

    defp normal(ref, at, options \\ []), do: waiter(ref, [asked: native(at)] ++ options)
    defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)
    defp aged(waiters, age), do: Enum.reduce(waiters, Line.new(age), &Line.put(&2, &1))

    test "an urgent one goes before others, but for those that had waited long when it came" do
      line = aged([normal(:a, 0), normal(:b, 60), urgent(:c, 110), urgent(:d, 120)], 100)
      assert refs(Line.all(line, nil)) == [:a, :c, :d, :b]
      assert Line.first(line, nil).ref == :a
      assert Line.asked(line) == native(0)
      {_a, line} = Line.take(line, :a)
      assert Line.first(line, nil).ref == :c
      # It has waited the longest, though it is not the first.
      assert Line.asked(line) == native(60)
    end

    test "a session's calls keep their order, whatever their priority" do
      line = aged([normal(:a, 1, session: "s"), urgent(:b, 2, session: "s")], 100)
      assert refs(Line.all(line, "s")) == [:a, :b]
      line = aged([normal(:a, 1, worker: self()), urgent(:b, 2, worker: self())], 100)
      assert refs(Line.all(line, {:worker, self()})) == [:a, :b]
    end

    test "those of one priority keep their order, and none waits behind urgent ones for ever" do
      check_all(
        200,
        fn -> many(60, fn -> {pick([:urgent, :normal]), :rand.uniform(4)} end) end,
        fn
          steps ->
            {waiters, _at} =
              steps
              |> Enum.with_index()
              |> Enum.map_reduce(0, fn {{priority, gap}, ref}, at ->
                {waiter(ref, priority: priority, asked: native(at + gap)), at + gap}
              end)

            line = aged(waiters, 20)
            order = refs(Line.all(line, nil))
            of = Map.new(waiters, &{&1.ref, &1})
            assert Enum.sort(order) == refs(waiters)
            assert Line.count(line) == length(waiters)

            for priority <- [:urgent, :normal] do
              refs = Enum.filter(order, &(of[&1].priority == priority))
              assert refs == Enum.sort(refs)
            end

            # Whoever is ahead of a normal one came before it had waited for 20 ms.
            for {ref, place} <- Enum.with_index(order),
                of[ref].priority == :normal,
                ahead <- Enum.take(order, place),
                do: assert(of[ahead].asked <= of[ref].asked + native(20))

            # And whoever is behind an urgent one had not waited for so long when that came.
            for {ref, place} <- Enum.with_index(order),
                of[ref].priority == :urgent,
                behind <- Enum.drop(order, place),
                of[behind].priority == :normal,
                do: assert(of[behind].asked + native(20) >= of[ref].asked)

            # Taken one by one, in any order, the oldest is always known.
            Enum.reduce(Enum.shuffle(order), line, fn ref, line ->
              left = Map.values(line.waiters)
              assert Line.asked(line) == left |> Enum.map(& &1.asked) |> Enum.min()
              elem(Line.take(line, ref), 1)
            end)
        end
      )
    end

    test "a lane goes to the urgent one first" do
      ledger = %Ledger{quick?: fn _slot, _calls -> false end, line: Line.new(1_000)}
      {[], ledger} = Ledger.add_worker(ledger, 0, self(), [spawn(fn -> :ok end)])
      {[{:grant, _first, _lane}], ledger} = Ledger.request(ledger, normal(:first, 0))
      {[], ledger} = Ledger.request(ledger, normal(:a, 1))
      {[], ledger} = Ledger.request(ledger, normal(:b, 2))
      {[], ledger} = Ledger.request(ledger, urgent(:c, 3))
      {[{:grant, %Waiter{ref: :c}, _lane}], nil, ledger} = Ledger.release(ledger, :first)
      {[{:grant, %Waiter{ref: :a}, _lane}], nil, ledger} = Ledger.release(ledger, :c)
      {[{:grant, %Waiter{ref: :b}, _lane}], nil, _ledger} = Ledger.release(ledger, :a)
    end
  end

  defp step,
    do: pick([{:put, pick([nil, "a", "b"]), :rand.uniform(50)}, {:take, :rand.uniform(40)}])

  defp apply_step({{:put, session, deadline}, n}, {line, list}) do
    waiter = waiter(n, session: session, deadline: deadline, asked: n)
    {Line.put(line, waiter), list ++ [waiter]}
  end

  defp apply_step({{:take, n}, _n}, {line, list}) do
    {waiter, line} = Line.take(line, n)
    assert (waiter && waiter.ref) == Enum.find_value(list, &(&1.ref == n && n))
    {line, Enum.reject(list, &(&1.ref == n))}
  end

  # Of fifty of each kind, as a tree is put in balance from time to time.
  test "what the ledger does for an event does not grow with those who wait" do
    for session? <- [false, true] do
      # The least of three, as a collection of garbage may come in between all the same.
      [few, many] =
        for count <- [200, 10_000],
            do: Enum.min(for _ <- 1..3, do: reductions(count, session?))

      assert many < 4 * few, "#{few} reductions while 200 wait, #{many} while 10,000 do"
    end
  end

  defp crowd(count, session?) do
    ledger = %Ledger{quick?: fn _slot, _calls -> false end}
    {[], ledger} = Ledger.add_worker(ledger, 0, self(), [spawn(fn -> :ok end)])
    {[_grant], ledger} = Ledger.request(ledger, waiter(:first, owner: owner()))

    Enum.reduce(1..count, ledger, fn n, ledger ->
      {[], ledger} = Ledger.request(ledger, asks(n, session?))
      ledger
    end)
  end

  defp asks(n, session?) do
    session = if session?, do: "s#{n}"
    waiter(n, owner: owner(), deadline: 1_000_000 - n, session: session)
  end

  defp owner, do: spawn(fn -> :ok end)

  # In a process that collects no garbage meanwhile: that is counted as work, too.
  defp reductions(count, session?) do
    test = self()

    :erlang.spawn_opt(
      fn ->
        ledger = crowd(count, session?)
        before = reductions()
        Enum.reduce(1..50, {ledger, :first}, &work(&1, &2, session?))
        send(test, {:reductions, reductions() - before})
      end,
      [:link, min_heap_size: 20_000_000]
    )

    receive do: ({:reductions, done} -> done)
  end

  defp reductions, do: elem(Process.info(self(), :reductions), 1)

  defp work(n, {ledger, held}, session?) do
    gone = owner()
    {[{:grant, %Waiter{ref: next}, _lane}], nil, ledger} = Ledger.release(ledger, held)
    {[], ledger} = Ledger.request(ledger, %{asks(-n, session?) | owner: gone})
    {[], ledger} = Ledger.request(ledger, asks(20_000 + n, session?))
    {[], ledger} = Ledger.drop_owner(ledger, gone)
    {[], nil, ledger} = Ledger.release(ledger, 100 + n)
    {[_soonest | _], ledger} = Ledger.expire(ledger, Line.deadline(ledger.line))
    {ledger, next}
  end
end
