defmodule Slither.Store.CommitsTest do
  # Commits as a value: the test's process is the owner and the log's writer, so that it sees each
  # request and says what comes of it.
  use ExUnit.Case, async: true

  alias Slither.Error
  alias Slither.Store.{Commits, Config, Journal}
  alias Slither.Store.Journal.Writer

  @moduletag :capture_log

  defp commits(options \\ []) do
    config = struct!(%Config{store: :s, sync: :always, compact_after: 100}, options)
    journal = %Journal{dir: "/nowhere", base: "s", writer: self(), down: nil, seq: 1}
    Commits.new(config, journal, %{}, true)
  end

  defp commit(commits, n) do
    answer = {{self(), n}, {:ok, :ok, 1}, {:items, :put, [n]}}
    Commits.commit(commits, {:items, [{:insert, [{n, n}], nil}]}, answer)
  end

  defp call(n), do: {{self(), n}, {Slither.Store.Owner, :write, :items, :put, {:delete, n}}}

  # What the writer is asked, with the numbers of the entries that it is given.
  defp asked do
    assert_receive {ref, request}

    case request do
      {:write, payloads, sync?} ->
        {ref, {:write, Enum.map(payloads, &number/1), sync?}}

      {:open, path, payloads} ->
        {ref, {:open, Path.basename(path), Enum.map(payloads, &number/1)}}
    end
  end

  defp number(payload) do
    {:items, [{:insert, [{n, n}], nil}]} = :erlang.binary_to_term(payload)
    n
  end

  defp answered(commits, ref, answer) do
    {commits, effects} = Commits.answered(commits, ref, answer)
    {Commits.go_on(commits), Enum.map(effects, &short/1)}
  end

  defp short({:answer, answers}),
    do: {:answer, for({{_pid, n}, reply, _change} <- answers, do: {n, short(reply)})}

  defp short({:reply, {_pid, n}, reply}), do: {:reply, n, short(reply)}
  defp short({:again, {{_pid, n}, _message}}), do: {:again, n}
  defp short({:ok, :ok, 1}), do: :ok
  defp short({:error, %Error{reason: reason}}), do: reason

  test "what comes while the writer writes goes together, and is answered in order" do
    commits = commits() |> commit(1) |> Commits.go_on()
    assert {first, {:write, [1], true}} = asked()
    commits = commits |> commit(2) |> Commits.go_on() |> commit(3) |> Commits.go_on()
    refute_received {_ref, _request}

    {commits, effects} = answered(commits, first, :ok)
    assert effects == [answer: [{1, :ok}]]
    assert {second, {:write, [2, 3], true}} = asked()
    assert {commits, [answer: [{2, :ok}, {3, :ok}]]} = answered(commits, second, :ok)
    refute_received {_ref, _request}
    assert {^commits, []} = answered(commits, first, :ok)
  end

  test "between syncs writes are answered as written, and a timer asks for the sync" do
    commits = commits(sync: 1) |> commit(1) |> Commits.go_on()
    assert {ref, {:write, [1], false}} = asked()
    assert {commits, [answer: [{1, :ok}]]} = answered(commits, ref, :ok)
    assert_receive {Commits, :sync}
    {commits, []} = Commits.handle(commits, :sync)
    _commits = Commits.go_on(commits)
    assert {_ref, {:write, [], true}} = asked()
  end

  test "a failed write is tried in a new segment before anybody hears of it" do
    commits = commits() |> commit(1) |> Commits.go_on()
    {ref, {:write, [1], true}} = asked()
    commits = commits |> commit(2) |> Commits.go_on()
    assert {commits, []} = answered(commits, ref, {:error, :enospc})
    assert {ref, {:open, "s.2.log", [1, 2]}} = asked()

    # Its snapshot can't be written here, and its end is told to the owner.
    Process.flag(:trap_exit, true)
    assert {commits, [answer: [{1, :ok}, {2, :ok}]]} = answered(commits, ref, :ok)
    assert_receive {:EXIT, pid, {:file_error, _path, :enoent}}
    assert {commits, []} = Commits.ended(commits, pid, :enoent)
    assert commits.snapshot == nil
    assert Commits.admit(commits, :items, call(3)) == :ok
  end

  test "while the log is down a write waits for one more try, and is refused with it" do
    commits = commits() |> commit(1) |> Commits.go_on()
    {ref, _write} = asked()
    {commits, []} = answered(commits, ref, {:error, :enospc})
    {ref, {:open, "s.2.log", [1]}} = asked()
    assert {:wait, commits} = Commits.admit(commits, :items, call(2))
    assert {:wait, commits} = Commits.admit(commits, :items, call(3))
    {commits, effects} = answered(commits, ref, {:error, :enospc})

    refused = for n <- [2, 3], do: {:reply, n, :not_logged}
    assert effects == [{:answer, [{1, :not_synced}]} | refused]

    # One that comes now has the log tried at once; it comes again when that is well.
    assert {:wait, commits} = Commits.admit(commits, :items, call(4))
    assert {ref, {:open, "s.2.log", [1]}} = asked()
    Process.flag(:trap_exit, true)
    assert {_commits, [again: 4]} = answered(commits, ref, :ok)
  end

  test "a disk that does not answer refuses writes until it does" do
    commits = commits() |> commit(1) |> Commits.go_on()
    {ref, _write} = asked()
    {commits, effects} = Commits.handle(commits, {:late, ref})
    assert Enum.map(effects, &short/1) == [answer: [{1, :not_synced}]]
    assert {:error, %Error{reason: :not_logged}} = Commits.admit(commits, :items, call(2))
    assert {commits, []} = answered(commits, ref, :ok)
    assert Commits.admit(commits, :items, call(2)) == :ok
  end

  test "a log that has grown goes on in a new segment, or in the old one if there is none" do
    commits = commits(compact_after: 0) |> commit(1) |> Commits.go_on()
    assert {ref, {:open, "s.2.log", []}} = asked()
    assert {commits, []} = answered(commits, ref, {:error, :enospc})
    assert {ref, {:write, [1], true}} = asked()
    assert {_commits, [answer: [{1, :ok}]]} = answered(commits, ref, :ok)
  end

  test "a writer that ends is replaced, and is given what it had" do
    Process.flag(:trap_exit, true)
    commits = commits() |> commit(1) |> Commits.go_on()
    {_ref, _write} = asked()
    {commits, []} = Commits.ended(commits, self(), :killed)
    assert commits.journal.writer != self()
    # It has been asked, in its own inbox, for the segment in which the entry goes.
    assert %{asked: {ref, :segment}, tail: [_one]} = commits.journal
    assert_receive {Writer, ^ref, {:error, :enoent}}
    assert {_commits, [answer: [{1, :not_synced}]]} = answered(commits, ref, {:error, :enoent})
  end
end
