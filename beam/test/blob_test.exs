defmodule Slither.BlobTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  alias Slither.{Arrow, Blob, Bytes, Tensor}
  alias Slither.Blob.{Folder, Server}
  alias Slither.Test.VMs

  defp path(blob), do: with({:ok, path} <- Server.path(blob.name), do: path)
  defp tensor(numbers), do: Tensor.new(:float64, {length(numbers)}, numbers)

  defp started(options) do
    pool = :"blobs_#{System.unique_integer([:positive])}"
    folder = Path.expand("../../python/tests", __DIR__)
    start_supervised!({Slither.Python.Pool, [name: pool, paths: [folder]] ++ options})
    pool
  end

  describe "put/2 and get/1" do
    test "give back what was put" do
      for value <- [
            tensor([1.0, 2.0]),
            %Tensor{dtype: {:numpy, "<M8[ns]", 8}, shape: {1}, data: <<7::64>>},
            Arrow.new(<<1, 2, 3>>, ["a"], 1, :table),
            Bytes.new(<<255>>),
            Bytes.new("")
          ] do
        blob = Blob.put!(value)
        assert Blob.get(blob) == {:ok, value}
        assert %{size: size, mode: mode} = File.stat!(path(blob))
        assert {size, Bitwise.band(mode, 0o777)} == {blob.size, 0o600}
      end

      assert {:ok, blob} = Blob.put("text")
      assert Blob.get(blob) == {:ok, Bytes.new("text")}
      assert Bitwise.band(File.stat!(Server.folder()).mode, 0o777) == 0o700
    end

    test "refuse what a blob can't hold, and other options, with a reason" do
      assert {:error, %{reason: :invalid_argument} = error} = Blob.put([1])
      assert Exception.message(error) =~ "a blob holds a binary, a Slither.Bytes"
      assert {:error, %{reason: :invalid_argument}} = Blob.put("a", owner: :nobody)

      assert {:error, %{message: "unknown option :onwer; known: :owner"}} =
               Blob.put("a", onwer: 1)

      wrong = %Tensor{dtype: :float64, shape: {2}, data: ""}
      assert {:error, %{reason: :invalid_tensor}} = Blob.put(wrong)
      assert_raise Slither.Error, ~r/takes 16 bytes/, fn -> Blob.put!(wrong) end
    end
  end

  test "a blob goes when it is deleted, or its owner ends, and not before" do
    deleted = Blob.put!("a")
    assert Blob.delete(deleted) == :ok
    assert Blob.delete(deleted) == :ok
    assert {:error, %{reason: :unknown_blob}} = Blob.get(deleted)
    assert {:error, %{reason: :unknown_blob}} = Blob.hand_over(deleted, self())

    test = self()

    owner = fn ->
      send(
        test,
        {:put, Blob.put!("a"), Blob.put!("b", owner: test), Blob.put!("c", owner: :node)}
      )

      kept = Blob.put!("d")
      :ok = Blob.hand_over(kept, test)
      send(test, {:kept, kept})
      receive do: (:end -> :ok)
    end

    {pid, monitor} = spawn_monitor(owner)
    assert_receive {:put, mine, given, nodes}
    assert_receive {:kept, kept}
    assert {:ok, _} = Blob.get(mine)
    send(pid, :end)
    assert_receive {:DOWN, ^monitor, _, _, _}
    # The server has had the same message before it answers the next.
    assert {:error, _} = Blob.hand_over(mine, self())
    assert {:error, %{reason: :unknown_blob}} = Blob.get(mine)
    for blob <- [given, nodes, kept], do: assert({:ok, %Bytes{}} = Blob.get(blob))
    Blob.delete(nodes)
  end

  test "one without room is an error that says how much was wanted, and leaves nothing" do
    path = Path.join(Server.folder() || elem(Server.open(), 1), "missing/file")
    assert Folder.write(path, "a") == {:error, :enoent}
    {:ok, folder} = Server.open()
    existing = Path.join(folder, Folder.id())
    assert Folder.write(existing, "first") == :ok
    assert Folder.write(existing, "second") == {:error, :eexist}
    File.rm!(existing)
  end

  describe "in workers" do
    test "is the value, read by all without a copy, as an item, in one, and many times" do
      pool = started(size: 2)
      blob = Blob.put!(tensor(Enum.map(1..200_000, &(&1 / 1))))
      items = [blob, %{"in" => [blob]}, {blob, 1}]
      options = [module: "blob_handlers", pool: pool, batch_size: 1]
      {:ok, results} = Slither.dispatch(items ++ items, [function: "look"] ++ options)
      sum = 200_001 * 100_000.0

      for %{payload: {total, writable, mapped}} <- results,
          do: assert({total, writable, mapped} == {sum, false, true})

      {:ok, [%{payload: {"memoryview", "ab"}}]} =
        Slither.dispatch([Blob.put!("ab")], [function: "kind"] ++ options)
    end

    test "fails its own item where it is gone" do
      pool = started(size: 1)
      [gone, there] = for text <- ["gone", "there"], do: Blob.put!(text)
      Blob.delete(gone)
      options = [module: "blob_handlers", function: "kind", pool: pool, on_error: :skip]
      {:ok, results, receipt} = Slither.dispatch([gone, there], [receipt: true] ++ options)
      assert [_failed, %{payload: {"memoryview", "there"}}] = results
      assert receipt.errors == %{"unknown_blob" => 1}
    end
  end

  describe "the folder" do
    test "goes with its BEAM, however that ends" do
      for signal <- ["KILL", "TERM"] do
        {port, os_pid, folder} = other_vm()
        assert File.exists?(folder)
        {_, 0} = System.cmd("kill", ["-s", signal, os_pid])
        assert_receive {^port, {:exit_status, _}}, 30_000
        gone(folder, 1_000)
      end
    end

    test "of a BEAM that is gone is removed by the next of the same user" do
      {:ok, own} = Server.open()
      root = Path.dirname(own)
      ["slither", pid, since, space, _id] = own |> Path.basename() |> String.split("-")
      left = Path.join(root, "slither-#{pid}-1-#{space}-#{Folder.id()}")
      elsewhere = Path.join(root, "slither-#{pid}-1-1-#{Folder.id()}")
      ours = Path.join(root, "slither-#{pid}-#{since}-#{space}-#{Folder.id()}")
      folders = [left, elsewhere, ours]
      for folder <- folders, do: File.mkdir_p!(Path.join(folder, "run"))
      Folder.sweep(own)
      assert Enum.map(folders, &File.exists?/1) == [false, true, true]
      for folder <- folders, do: File.rm_rf!(folder)
      assert File.exists?(own)
    end
  end

  # Waits for the end of a folder, at most so many looks.
  defp gone(folder, left) do
    cond do
      not File.exists?(folder) -> :ok
      left == 0 -> flunk("#{folder} is there yet")
      true -> receive(after: (10 -> gone(folder, left - 1)))
    end
  end

  defp other_vm do
    port = VMs.open("blob_vm.exs", [])
    [os_pid, folder] = port |> VMs.wait_for("folder ") |> String.split(" ")
    {port, os_pid, folder}
  end
end
