defmodule Slither do
  @moduledoc """
  Python compute under BEAM control.

    * `Slither.call/4`: one Python function, once;
    * `Slither.Dispatch`: batched fan-out to Python workers, with bounded work in flight;
    * `Slither.Pipe`: BEAM stages, Python stages and routing in one supervised flow;
    * `Slither.Store`: shared state in ETS, which Python reads through views.

  This module is the short way to the first three.
  """

  alias Slither.{Call, Dispatch, Error, Item, Pipe, Receipt, StreamCall}

  @typedoc "The name of a Python module or function, which may be dotted."
  @type name :: String.t() | atom

  @doc """
  Calls a Python function, and waits for what it returns.

      {:ok, 8.0} = Slither.call("math", "pow", [2, 3])
      {:ok, "[\\n 1\\n]"} = Slither.call("json", "dumps", [[1]], kwargs: %{indent: 1})

  `module` and `function` name anything that a worker can import and call: a function, a class,
  or by a dotted name a method of a class, as in `"datetime"`, `"datetime.fromisoformat"`. A
  coroutine is awaited. `args` is the list of arguments.

  `{:error, error}` has a `Slither.Error`: an exception of the function (`:python_exception`, with
  its type, message and traceback), a name that is not there (`:import_failed`), a value that
  can't cross (`:not_encodable`), a call that ran too long (`:timeout`) or took too much memory
  (`:memory`), a worker that died
  (`:worker_died`), and what a pool says (`:unknown_pool`, `:saturated`, `:pool_unavailable`).

      {:error, error} = Slither.call("builtins", "int", ["ten"])
      "ValueError: invalid literal for int() with base 10: 'ten'" = error.message

  Options:

  #{Call.docs()}

  A call takes one worker. To run many items use `dispatch/2`, which sends them in batches; for
  processes that each want one result of a function that likes batches, `Slither.Gather`.
  """
  @spec call(name, name, list, keyword) :: {:ok, term} | {:error, Error.t()}
  def call(module, function, args \\ [], options \\ []),
    do: Call.run(module, function, args, options, "Slither.call/4")

  @doc """
  As `call/4`, with the value alone; raises the `Slither.Error`.

      8.0 = Slither.call!("math", "pow", [2, 3])
  """
  @spec call!(name, name, list, keyword) :: term
  def call!(module, function, args \\ [], options \\ []) do
    case Call.run(module, function, args, options, "Slither.call!/4") do
      {:ok, value} -> value
      {:error, error} -> raise error
    end
  end

  @doc """
  Begins a call, and returns a task for its answer: see `call/4` and `await/2`.

      tasks = for n <- 1..3, do: Slither.async("math", "factorial", [n])
      [{:ok, 1}, {:ok, 2}, {:ok, 6}] = Enum.map(tasks, &Slither.await/1)

  The task is linked to the calling process: where that ends, the call is cancelled.
  """
  @spec async(name, name, list, keyword) :: Task.t()
  def async(module, function, args \\ [], options \\ []),
    do: Call.async(module, function, args, options)

  @doc """
  Waits for the answer of a call that `async/4` began, at most `timeout` ms.

  Returns what `call/4` does. A call without an answer by then is cancelled, and is an error of
  the reason `:timeout`. Without a `timeout` the call's own ends it. Raises an `ArgumentError` where
  the answer was taken before, or the call was cancelled.
  """
  @spec await(Task.t(), timeout) :: {:ok, term} | {:error, Error.t()}
  def await(%Task{} = task, timeout \\ :infinity), do: Call.await(task, timeout)

  @doc """
  Prints what Python says of a function: its parameters and its documentation. For `iex`.

      Slither.help("json", "dumps")

  Without a function it prints what a module has. Options: `pool` and `timeout`, as of `call/4`.
  Returns `:ok`, or the error of a name that is not there.
  """
  @spec help(name, name | nil, keyword) :: :ok | {:error, Error.t()}
  def help(module, function \\ nil, options \\ []) do
    with {:ok, text} <- Call.help(module, function, options), do: IO.puts(text)
  end

  @doc """
  Calls a Python function that gives values one by one, and returns a lazy stream of them.

      numbers = Slither.stream_call("itertools", "count", [10], kwargs: %{step: 5})
      [10, 15, 20] = Enum.take(numbers, 3)

  The function returns an iterator, such as a generator, plain or asynchronous, or a list; a
  coroutine is awaited. It is called when somebody reads the stream, and goes on as that reads: a
  value comes as soon as it is there, and who reads no further holds nothing up. Values that are
  made quickly come together, at most 1,000, or 256 KB, or those of 20 ms. Between two such chunks
  the worker serves other calls, and does not leave: a restart of its pool, or a limit that it has
  reached, waits for the end of the stream.

  To stop early, by `Enum.take/2` or an exception, closes the generator: its `finally` runs. So does
  the end of the process that reads. A generator that is at work on a value is closed once it has
  that, or, if that takes longer than the pool's `cancel_grace`, ends with its worker; an
  asynchronous one is cancelled where it waits.

  Reading raises a `Slither.Error`, after the values that came before it: an exception of the
  function (`:python_exception`), a value that can't cross (`:not_encodable`), a function that gives
  none (`:wrong_result`), a value that took too long (`:timeout`), a worker that died
  (`:worker_died`), and what `call/4` has else. Arguments and options that are wrong raise one at once.

  Options:

  #{StreamCall.docs()}
  """
  @spec stream_call(name, name, list, keyword) :: Enumerable.t()
  def stream_call(module, function, args \\ [], options \\ []),
    do: StreamCall.stream(module, function, args, options)

  @doc """
  Runs a pipe; see `Slither.Pipe.Runner.run/3`.

      {:ok, outputs} = Slither.run_pipe(MyApp.ScorePipe, ["first", "second", "third"])
      Enum.map(outputs.accept, & &1.payload)
  """
  @spec run_pipe(Pipe.Runner.pipe(), Enumerable.t(), keyword) ::
          Pipe.Runner.result()
  def run_pipe(pipe, input, options \\ []), do: Pipe.Runner.run(pipe, input, options)

  @doc "Runs a pipe lazily; see `Slither.Pipe.Runner.stream/3`."
  @spec stream_pipe(Pipe.Runner.pipe(), Enumerable.t(), keyword) :: Enumerable.t()
  def stream_pipe(pipe, input, options \\ []), do: Pipe.Runner.stream(pipe, input, options)

  @doc """
  Sends items to Python workers in batches; see `Slither.Dispatch.run/2`.

      items = Slither.Item.wrap_many([1, 2, 3, 4])
      {:ok, results} = Slither.dispatch(items, module: "my_model", function: "predict_batch")
  """
  @spec dispatch(Enumerable.t(), keyword) ::
          {:ok, [Item.t()]}
          | {:error, Exception.t(), [Item.t()]}
          | {:ok, [Item.t()], Receipt.t()}
          | {:error, Exception.t(), [Item.t()], Receipt.t()}
  def dispatch(items, options), do: Dispatch.run(items, options)
end
