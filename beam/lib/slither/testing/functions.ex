defmodule Slither.Testing.Functions do
  @moduledoc false
  # Runs the call of a job with a function in place of Python, in a process of the lane's that has
  # the job, and makes an outcome of whatever the function does.

  alias Slither.{Context, Error, Options, Protocol}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Outcome}
  alias Slither.Testing.Drawing

  @typedoc "What calls whose items have many values have left, by their numbers, with their runs."
  @type cursors :: %{optional(pos_integer) => {run :: String.t() | nil, [Drawing.source()]}}

  @doc """
  The outcome of a job's call, which has a `number`, and what calls have left after it.
  """
  @spec run(%{optional(String.t()) => fun}, Job.t(), pos_integer, cursors) ::
          {Outcome.t(), cursors}
  def run(functions, %Job{} = job, number, cursors) do
    run = Frame.call_context(job.head)["run"]

    case Frame.call_target(job.head) do
      ["more", first] -> more(String.to_integer(first), cursors)
      ["drop", "run"] -> drop_all(run, cursors)
      ["drop", first] -> drop(String.to_integer(first), cursors)
      # The pool has a worker drop what it holds of a run: here that is what is left to draw.
      ["session", "end"] -> drop_all(run, cursors)
      target -> first(target, functions, job, {number, run}, cursors)
    end
  end

  defp first(target, functions, job, call, cursors) do
    {payloads, unsent} = there(job.payloads)

    case call(target, functions, payloads, job) do
      {:ok, results} when job.many != nil -> drawn(sources(results), unsent, call, cursors)
      {:ok, results} -> {back(results, unsent, length(job.payloads)), cursors}
      {:error, error} -> {Outcome.error(error, nil), cursors}
    end
  end

  # Items with many values: each result is an enumerable of them.
  defp sources(results) do
    for {result, index} <- Enum.with_index(results) do
      case result do
        {:ok, values} -> {index, source(values)}
        {:error, error} -> {index, {:failed, error}}
      end
    end
  end

  defp source(values) do
    if Enumerable.impl_for(values) != nil and (is_struct(values) or not is_map(values)),
      do: {:whole, values},
      else: {:failed, not_many(values)}
  end

  defp not_many(value) do
    %Error{
      reason: :wrong_result,
      message: "many values are a list or a stream for each item, got #{inspect(value, limit: 5)}"
    }
  end

  defp more(first, cursors) do
    case Map.pop(cursors, first) do
      {nil, cursors} -> {Outcome.error(gone(first), nil), cursors}
      {{run, sources}, cursors} -> drawn(sources, %{}, {first, run}, cursors)
    end
  end

  defp gone(first),
    do: %Error{reason: :worker_died, message: "call #{first} has nothing left to draw"}

  defp drawn(sources, unsent, {number, run}, cursors) do
    {entries, left} = Drawing.draw(sources, %Drawing{cross: &cross/1, raised: &raised/2})
    cursors = if left == [], do: cursors, else: Map.put(cursors, number, {run, left})
    {Outcome.ok(entries, unsent, nil), cursors}
  end

  defp drop(first, cursors) do
    {{_run, sources}, cursors} = Map.pop(cursors, first, {nil, []})
    Drawing.close(sources)
    {Outcome.ok([nil], %{}, nil), cursors}
  end

  defp drop_all(run, cursors) do
    {its, others} = Enum.split_with(cursors, fn {_number, {of, _sources}} -> of == run end)
    for {_number, {_run, sources}} <- its, do: Drawing.close(sources)
    {Outcome.ok([its != []], %{}, nil), Map.new(others)}
  end

  # Payloads that can't be sent are not given to the function.
  defp there(payloads) do
    payloads
    |> Enum.with_index()
    |> Enum.reduce({[], %{}}, fn {payload, index}, {sent, unsent} ->
      case cross(payload) do
        {:ok, payload} -> {[payload | sent], unsent}
        {:error, error} -> {sent, Map.put(unsent, index, error)}
      end
    end)
    |> then(fn {sent, unsent} -> {Enum.reverse(sent), unsent} end)
  end

  # A value as it is on the other side of the wire, or why it can't cross.
  defp cross(value),
    do: with({:ok, bytes} <- Protocol.pack(value), do: Protocol.unpack(bytes))

  defp call(_target, _functions, [], _job), do: {:ok, []}

  defp call(["session", _other], _functions, _payloads, _job), do: {:ok, [{:ok, nil}]}

  defp call(["apply", module, name], functions, payloads, _job) do
    with {:ok, function} <- find(functions, "#{module}.#{name}"),
         do: {:ok, Enum.map(payloads, &guarded(fn -> apply_to(function, &1) end))}
  end

  defp call([kind, module, name], functions, payloads, job) when kind in ["item", "each"] do
    with {:ok, function} <- find(functions, "#{module}.#{name}"),
         do: {:ok, Enum.map(payloads, &guarded(fn -> with_context(function, &1, job) end))}
  end

  defp call(["function", module, name], functions, payloads, job),
    do: batch(functions, "#{module}.#{name}", payloads, job)

  defp call(["command", name], functions, payloads, job),
    do: batch(functions, name, payloads, job)

  defp call(target, _functions, _payloads, _job) do
    message = "a pool of functions has nothing in place of #{Enum.join(target, " ")}"
    {:error, %Error{reason: :import_failed, message: message}}
  end

  defp apply_to(function, [arguments, named]) when named == %{}, do: apply(function, arguments)
  defp apply_to(function, [arguments, named]), do: apply(function, arguments ++ [named])

  defp batch(functions, name, payloads, job) do
    with {:ok, function} <- find(functions, name),
         {:ok, results} <- guarded(fn -> with_context(function, payloads, job) end) do
      if is_list(results) and length(results) == length(payloads),
        do: {:ok, Enum.map(results, &one/1)},
        else: {:error, wrong(name, results, length(payloads))}
    end
  end

  defp with_context(function, given, job) do
    if is_function(function, 2), do: function.(given, context(job)), else: function.(given)
  end

  defp context(%Job{context: nil}), do: %Context{}
  defp context(%Job{context: bytes}), do: :erlang.binary_to_term(bytes)

  # What a function gave: a value, or the error of its item.
  defp one({:error, reason}), do: {:error, failure(reason)}
  defp one(value), do: {:ok, value}

  defp guarded(fun) do
    one(fun.())
  rescue
    error in Error -> {:error, error}
    exception -> {:error, raised(exception, __STACKTRACE__)}
  catch
    kind, value -> {:error, raised(kind, value, __STACKTRACE__)}
  end

  defp failure(%Error{} = error), do: error
  defp failure(reason) when is_binary(reason), do: failure(reason, %{})
  defp failure(reason), do: failure(inspect(reason), %{"reason" => reason})

  defp failure(text, details),
    do: %Error{reason: :handler_failure, message: text, details: details}

  defp raised(%module{} = exception, stacktrace) do
    python(
      module |> Module.split() |> List.last(),
      Exception.message(exception),
      Exception.format(:error, exception, stacktrace)
    )
  end

  defp raised(kind, value, stacktrace),
    do: python(to_string(kind), inspect(value), Exception.format(kind, value, stacktrace))

  defp python(type, message, traceback) do
    %Error{
      reason: :python_exception,
      message: "#{type}: #{message}",
      python: %{type: type, message: message, traceback: traceback}
    }
  end

  defp find(functions, name) do
    case functions do
      %{^name => function} ->
        {:ok, function}

      _none ->
        known = Map.keys(functions)

        {:error,
         %Error{
           reason: :import_failed,
           message: "no function stands in for #{inspect(name)}.#{Options.nearest(name, known)}",
           hint: "give Slither.Testing.Pool functions: %{#{inspect(name)} => fn … end}"
         }}
    end
  end

  defp wrong(name, results, expected) do
    %Error{
      reason: :wrong_result,
      message:
        "the function in place of #{name} returned #{inspect(results, limit: 5)} for " <>
          "#{expected} payloads",
      hint: "return a list with one result for each payload, in order"
    }
  end

  ## The way back

  # A result that can't cross fails its own item, as does a payload that could not.
  defp back(results, unsent, count) do
    {values, errors, []} =
      Enum.reduce(0..(count - 1), {[], unsent, results}, fn index, {values, errors, results} ->
        if is_map_key(unsent, index) do
          {[nil | values], errors, results}
        else
          [result | results] = results

          case with({:ok, value} <- result, do: cross(value)) do
            {:ok, value} -> {[value | values], errors, results}
            {:error, error} -> {[nil | values], Map.put(errors, index, error), results}
          end
        end
      end)

    Outcome.ok(Enum.reverse(values), errors, nil)
  end
end
