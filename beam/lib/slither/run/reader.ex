defmodule Slither.Run.Reader do
  @moduledoc false
  # Reads a run for its caller, in the caller's process: lazily, as a stream, or to its end. Used by
  # dispatches and pipes, which hand in how a run is opened, goes on and is closed.
  #
  # A stream's messages go to the process that began to read it. Another process that goes on with it
  # would wait for ever, so it gets an error.

  alias Slither.{Error, Guarded, Receipt}

  @typedoc "More results, the end, or the failure that ends the run and the results before it."
  @type step(run, results) ::
          {:more, results, run} | {:done, run} | {:halted, results, Exception.t(), run}
  @type close(run, closed) :: (run, Exception.t() | nil -> closed)

  @doc """
  A stream that opens a run when it is read. It gives what comes before a failure, and raises that
  when it is read further. `where` names the stream's function.
  """
  @spec stream(
          String.t(),
          (() -> {:ok, run} | {:error, Exception.t()}),
          (run -> step(run, list)),
          close(run, any)
        ) :: Enumerable.t()
        when run: term
  def stream(where, open, next, close) do
    Stream.resource(
      fn -> {open!(open), self(), nil} end,
      &read(&1, where, next),
      fn {run, owner, error} -> close(owner, fn -> close.(run, error) end) end
    )
  end

  defp open!(open) do
    case open.() do
      {:ok, run} -> run
      {:error, error} -> raise error
    end
  end

  defp read({run, owner, nil}, where, next) do
    check!(owner, where)

    case next.(run) do
      {:more, results, run} -> {results, {run, owner, nil}}
      {:done, run} -> {:halt, {run, owner, nil}}
      {:halted, results, error, run} -> {results, {run, owner, error}}
    end
  end

  defp read({_run, _owner, error}, _where, _next), do: raise(error)

  defp check!(owner, _where) when owner == self(), do: :ok

  defp check!(owner, where) do
    raise Error,
      reason: :other_process,
      where: where,
      message:
        "this stream was begun by #{inspect(owner)}; #{inspect(self())} can't go on with it",
      hint: "begin and read the whole stream in one process, and send its results on from there"
  end

  @doc "Closes what a run holds, as far as that can be done from the calling process."
  @spec close(pid, (() -> any)) :: :ok
  def close(owner, close) do
    # Another process can't do all of this: it can't remove the owner's monitors, for one.
    if owner == self(),
      do: close.(),
      else: Guarded.call("closing", close, reason: :other_process)

    :ok
  end

  @doc """
  Reads a run to its end, by `next`, which adds to the results so far; with what closing it gave.

  What the caller's code raises, such as the input, passes through once the run is closed.
  """
  @spec collect(run, results, (run, results -> step(run, results)), close(run, closed)) ::
          {:ok, results, closed} | {:error, Exception.t(), results, closed}
        when run: term, results: term, closed: term
  def collect(run, results, next, close) do
    case next(run, results, next, close) do
      {:more, results, run} -> collect(run, results, next, close)
      {:done, run} -> {:ok, results, close.(run, nil)}
      {:halted, results, error, run} -> {:error, error, results, close.(run, error)}
    end
  end

  defp next(run, results, next, close) do
    next.(run, results)
  catch
    kind, reason ->
      close.(run, raised(kind, reason))
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  defp raised(:error, reason), do: Exception.normalize(:error, reason)
  defp raised(kind, reason), do: %ErlangError{original: {kind, reason}}

  @doc "The answer to a caller whose options may ask for a receipt, which is its last element then."
  @spec answer(tuple, Receipt.t() | nil, term) :: tuple
  def answer(result, receipt, options) do
    if Keyword.keyword?(options) and options[:receipt],
      do: Tuple.insert_at(result, tuple_size(result), receipt),
      else: result
  end
end
