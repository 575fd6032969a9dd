defmodule Slither.Run.Carrier.LocalTest do
  use ExUnit.Case, async: true

  alias Slither.Context
  alias Slither.Python.Outcome
  alias Slither.Run.{Batch, Mailbox, Plan, Policy}
  alias Slither.Run.Carrier.Local

  defp plan(fun, fields) do
    context = %Context{runtime: %{run: "run"}}
    struct!(Plan.local(fun, Policy.new!(:halt), context, 2, false), fields)
  end

  defp open(fun, fields \\ []) do
    mailbox = Mailbox.open()
    {mailbox, Local.open(plan(fun, fields), Mailbox.inbox(mailbox, :key))}
  end

  # Answers with the process that ran it.
  defp who(_entries), do: Outcome.ok([self()], %{}, nil)

  defp run(local, value) do
    {:ok, place, local} = Local.place(local)
    Local.run(local, place, %Batch{group: 0, number: 0, entries: [{0, value}]})
  end

  # The end of an executor's process may be told as well, once its batch is done.
  defp answer(mailbox, ref) do
    case Mailbox.await(mailbox) do
      {:key, {:done, ^ref, %Outcome{values: [pid]}}} -> pid
      {:key, {:down, _monitor, :normal}} -> answer(mailbox, ref)
    end
  end

  test "a handler's hands are kept from batch to batch, as many as may be" do
    {mailbox, local} = open(&who/1)
    {ref, local} = run(local, 1)
    hand = answer(mailbox, ref)
    {again, local} = local |> Local.done(ref, nil) |> run(2)
    assert answer(mailbox, again) == hand
    {other, local} = run(local, 3)
    assert answer(mailbox, other) != hand
    assert {:none, local} = Local.place(local)
    assert {:ok, _hand, _local} = local |> Local.done(other, nil) |> Local.place()
  end

  test "an executor has a process for each batch" do
    {mailbox, local} = open(&who/1, executor: __MODULE__)
    {ref, local} = run(local, 1)
    first = answer(mailbox, ref)
    monitor = Process.monitor(first)
    assert_receive {:DOWN, ^monitor, :process, ^first, _normal_or_noproc}
    {again, local} = local |> Local.done(ref, nil) |> run(2)
    assert answer(mailbox, again) != first
    assert %Local{busy: busy, idle: []} = local = Local.done(local, again, nil)
    assert busy == %{}
    assert Local.message(local, {:down, monitor, :normal}) == {:ok, local}
  end

  test "what takes too long is killed, and lost by its time" do
    fun = fn _entries -> receive do: (:never -> :ok) end
    {mailbox, local} = open(fun, executor: __MODULE__, timeout: 1)
    {ref, local} = run(local, 1)
    {:key, {:timer, _} = over} = Mailbox.await(mailbox)
    assert {:ok, local} = Local.message(local, over)
    {:key, {:down, _monitor, :killed} = down} = Mailbox.await(mailbox)
    assert {:lost, ^ref, %{reason: :timeout}, %Local{busy: busy}} = Local.message(local, down)
    assert busy == %{}
  end

  test "a hand that ends is replaced: its batch is lost, if it had one" do
    {mailbox, local} = open(fn [{0, how}] -> exit(how) end)
    {ref, local} = run(local, :why)
    {:key, {:down, _monitor, :why} = down} = Mailbox.await(mailbox)
    assert {:lost, ^ref, error, local} = Local.message(local, down)
    assert error.reason == :executor_failed and error.message =~ "why"
    assert {:ok, :new, _local} = Local.place(local)
  end

  test "a hand that ends while it waits is forgotten" do
    {mailbox, local} = open(&who/1)
    {ref, local} = run(local, 1)
    hand = answer(mailbox, ref)
    local = Local.done(local, ref, nil)
    Process.exit(hand, :kill)
    {:key, {:down, _monitor, :killed} = down} = Mailbox.await(mailbox)
    assert {:ok, local} = Local.message(local, down)
    assert {:ok, :new, _local} = Local.place(local)
  end

  test "close/2 ends what runs, and leaves no message of it" do
    test = self()
    fun = fn _entries -> send(test, {:runs, self()}) && receive(do: (:never -> :ok)) end
    {mailbox, local} = open(fun, executor: __MODULE__, timeout: 60_000)
    {_ref, local} = run(local, 1)
    assert_receive {:runs, pid}
    monitor = Process.monitor(pid)
    assert %Local{busy: busy, idle: []} = Local.close(local, [])
    assert busy == %{}
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    assert Mailbox.await(mailbox, 0) == :timeout
  end
end
