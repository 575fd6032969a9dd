defmodule Slither.Run.MailboxTest do
  use ExUnit.Case, async: true

  alias Slither.Python.Inbox
  alias Slither.Run.Mailbox

  setup do
    mailbox = Mailbox.open()
    %{mailbox: mailbox, inbox: Mailbox.inbox(mailbox, :key)}
  end

  test "await/2 gives what the inboxes were told, and nothing else", context do
    %{mailbox: mailbox, inbox: inbox} = context
    send(self(), {:foreign, 1})
    Inbox.tell(inbox, {:granted, :ref, self()})
    assert Mailbox.await(mailbox) == {:key, {:granted, :ref, self()}}
    Inbox.tell(Mailbox.inbox(mailbox, 2), {:done, :ref, :outcome})
    assert Mailbox.await(mailbox) == {2, {:done, :ref, :outcome}}
    assert Mailbox.await(mailbox, 0) == :timeout
    assert_received {:foreign, 1}
  end

  test "timers and the ends of processes come to their inbox", context do
    %{mailbox: mailbox, inbox: inbox} = context
    timer = Mailbox.start_timer(inbox, 0)
    assert Mailbox.await(mailbox) == {:key, {:timer, timer}}
    {_pid, monitor} = Mailbox.spawn_monitor(inbox, fn -> exit(:why) end)
    assert Mailbox.await(mailbox) == {:key, {:down, monitor, :why}}
    pid = spawn(fn -> :ok end)
    monitor = Mailbox.monitor(inbox, pid)
    assert {:key, {:down, ^monitor, _normal_or_noproc}} = Mailbox.await(mailbox)
  end

  test "match/2 tells the run's messages from others", context do
    %{mailbox: mailbox, inbox: inbox} = context
    Inbox.tell(inbox, {:lane_lost, :ref, :error})
    assert_receive told
    assert Mailbox.match(mailbox, told) == {:key, {:lane_lost, :ref, :error}}
    timer = Mailbox.start_timer(inbox, 0)
    assert_receive ran_out
    assert Mailbox.match(mailbox, ran_out) == {:key, {:timer, timer}}
    {_pid, monitor} = Mailbox.spawn_monitor(inbox, fn -> :ok end)
    assert_receive ended
    assert Mailbox.match(mailbox, ended) == {:key, {:down, monitor, :normal}}
    assert Mailbox.match(mailbox, {:foreign, 1}) == :unknown
    assert Mailbox.match(make_ref(), told) == :unknown
  end

  test "close/1 leaves nothing, and lets nothing in", %{mailbox: mailbox, inbox: inbox} do
    for ref <- 1..3, do: Inbox.tell(inbox, {:denied, ref, :error})
    send(self(), {:foreign, 1})
    assert Mailbox.close(mailbox) == :ok
    Inbox.tell(inbox, {:granted, :ref, self()})
    assert Process.info(self(), :messages) == {:messages, [{:foreign, 1}]}
  end
end
