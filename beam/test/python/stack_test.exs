defmodule Slither.Python.StackTest do
  use ExUnit.Case, async: true

  # Once for each way of starting workers.
  @moduletag :both_ways

  alias Slither.Error
  alias Slither.Python.Obituary
  alias Slither.Python.Obituary.Stack

  @slither "/venv/lib/slither/_worker"
  @main """
  Thread 0x0000000000000001 (most recent call first):
    File "/app/jobs.py", line 12 in fetch
    File "/app/jobs.py", line 30 in run
    File "#{@slither}/execute.py", line 5 in answer
    File "/venv/lib/slither/worker.py", line 289 in <module>
    File "<frozen runpy>", line 88 in _run_code
  """
  @own """
  Current thread 0x00000000000000aa (most recent call first):
    File "#{@slither}/stacks.py", line 7 in _answer
  """
  @watcher """
  Thread 0x00000000000000bb (most recent call first):
    File "#{@slither}/watcher.py", line 58 in _run
    File "/usr/lib/python3.11/threading.py", line 982 in run
  """
  @feeder """
  Thread 0x00000000000000cc [python] (most recent call first):
    File "/app/feed.py", line 3 in pull
    File "/usr/lib/python3.11/threading.py", line 982 in run
  """

  defp stack(parts, names \\ %{}), do: Stack.new(Enum.join(parts, "\n"), 1, names)

  test "has the main thread first, and nothing that is Slither's own" do
    stack = stack([@own, @watcher, @feeder, @main], %{0xCC => "feeder"})

    assert stack.text == """
           Main thread (most recent call first):
             File "/app/jobs.py", line 12 in fetch
             File "/app/jobs.py", line 30 in run

           Thread feeder (most recent call first):
             File "/app/feed.py", line 3 in pull
             File "/usr/lib/python3.11/threading.py", line 982 in run
           """

    assert stack.places == ["fetch (jobs.py:12)", "run (jobs.py:30)"]
  end

  test "is empty where no code of the user's runs" do
    idle = """
    Thread 0x0000000000000001 (most recent call first):
      File "/venv/lib/slither/_io/port.py", line 208 in _read_some
      File "/venv/lib/slither/worker.py", line 289 in <module>
    """

    assert stack([@own, idle]) == %Stack{text: "", places: []}
    assert stack([""]) == %Stack{text: "", places: []}
  end

  test "names threads by their numbers where their names are not known" do
    assert stack([@feeder]).text =~ "Thread 0xCC (most"
  end

  test "names the place of a handler that waits for BEAM, not Slither's" do
    main = """
    Thread 0x0000000000000001 (most recent call first):
      File "/venv/lib/slither/_io/port.py", line 208 in _read_some
      File "/venv/lib/slither/store.py", line 20 in get
      File "/app/jobs.py", line 12 in fetch
      File "#{@slither}/execute.py", line 5 in answer
    """

    stack = stack([main])
    assert stack.text =~ "port.py"
    assert stack.places == ["fetch (jobs.py:12)"]
  end

  test "keeps what Python says of frames that it left out, or does not have" do
    main = """
    Thread 0x0000000000000001 (most recent call first):
      File "/app/jobs.py", line ??? in fetch
      ...
    """

    assert stack([main]) == %Stack{
             text: String.replace(main, ~r/^Thread 0x\d+/, "Main thread"),
             places: ["fetch (jobs.py:???)"]
           }
  end

  test "keeps the main thread whole, and of others what there is room for" do
    thread = fn id ->
      id = String.pad_leading(Integer.to_string(id, 16), 16, "0")
      frames = for n <- 1..50, do: "  File \"/app/feed.py\", line #{n} in pull\n"
      "Thread 0x#{id} (most recent call first):\n#{frames}"
    end

    stack = stack(Enum.map(2..99, thread) ++ [@main])
    assert stack.text =~ "in fetch"
    assert stack.text =~ ~r/\nand \d+ more\n$/
    assert byte_size(stack.text) < 17_000
  end

  test "is text, whatever bytes it is made of" do
    broken =
      "Thread 0x0000000000000001 (most recent call first):\n  File \"/\xff.py\", line 1 in f\n"

    assert stack([broken]).text =~ "\uFFFD.py"
  end

  test "is told by the error of what was killed" do
    error = %Error{reason: :timeout, message: "late", hint: "raise timeout:"}
    told = Obituary.stack(error, stack([@main]))
    assert told.hint == "raise timeout:; it was in fetch (jobs.py:12), called by run (jobs.py:30)"
    assert told.details.stack == stack([@main]).text

    assert Obituary.stack(error, nil) == %{error | details: %{stack: nil}}
    assert Obituary.stack(error, stack([@own])) == %{error | details: %{stack: ""}}
  end
end
