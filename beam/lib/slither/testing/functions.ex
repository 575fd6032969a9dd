defmodule Slither.Testing.Functions do
  @moduledoc false
  # Runs the call of a job with a function in place of Python, in a process of the lane's that has
  # the job, and makes an outcome of whatever the function does.

  alias Slither.{Context, Error, Options, Protocol}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Job, Outcome}

  @doc "The outcome of a job's call."
  @spec run(%{optional(String.t()) => fun}, Job.t()) :: Outcome.t()
  def run(functions, %Job{} = job) do
    {payloads, unsent} = there(job.payloads)

    case call(Frame.call_target(job.head), functions, payloads, job) do
      {:ok, results} -> back(results, unsent, length(job.payloads))
      {:error, error} -> Outcome.error(error, nil)
    end
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

  @doc "A value as it is on the other side of the wire, or why it can't cross."
  @spec cross(term) :: {:ok, term} | {:error, Error.t()}
  def cross(value),
    do: with({:ok, bytes} <- Protocol.pack(value), do: Protocol.unpack(bytes))

  defp call(_target, _functions, [], _job), do: {:ok, []}

  # The pool ends what a worker holds of a session or a run: here that is nothing.
  defp call(["session", "end"], _functions, _payloads, _job), do: {:ok, [{:ok, false}]}
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
