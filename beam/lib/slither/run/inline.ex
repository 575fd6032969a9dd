defmodule Slither.Run.Inline do
  @moduledoc false
  # A stage that runs within the engine's process: it turns entries into those that go on, under
  # the stage's error policy. One that is to go on at a later stage is `{seq, {:to, index, item}}`,
  # one that leaves the pipe `{seq, {:exit, output, item}}`.

  alias Slither.Python.{Outcome, Timing}
  alias Slither.Run.{Policy, Source}
  alias Slither.{Item, PipeError}

  @enforce_keys [:name, :module, :state, :context, :policy, :pipe]
  defstruct [:name, :module, :state, :context, :policy, :pipe, batch?: false] ++
              [targets: %{}, policy_targets: %{}]

  defmodule Result do
    @moduledoc false
    defstruct on: [], skipped: 0, expanded: 0, routed: 0, out: 0, halt: nil, errors: []
  end

  @type t :: %__MODULE__{}
  @type entry :: {term, Item.t()}
  @type result :: %Result{}

  @doc "Runs entries through the stage; results are in order."
  @spec run(t, [entry]) :: %Result{}
  def run(%__MODULE__{} = stage, entries) do
    in_order(if stage.batch?, do: batch(stage, entries), else: each(stage, entries))
  end

  @doc "Runs entries elsewhere: the answers, not yet read, as an executor gives results."
  @spec answers(t, [entry]) :: Outcome.t()
  def answers(stage, entries) do
    started = System.monotonic_time()
    items = Enum.map(entries, &elem(&1, 1))

    answers =
      if stage.batch?, do: call_batch(stage, items), else: Enum.map(items, &call(stage, &1))

    time = System.monotonic_time() - started
    times = %Timing{handler: time}

    case answers do
      {:error, reason} ->
        Outcome.error(failure(stage, hd(items), reason), times)

      answers ->
        errors =
          for {{:error, reason}, index} <- Enum.with_index(answers), into: %{} do
            {index, failure(stage, Enum.at(items, index), reason)}
          end

        Outcome.ok(answers, errors, times)
    end
  end

  @doc "Reads answers that were given elsewhere, each in its item's payload."
  @spec settle_all(t, [entry]) :: %Result{}
  def settle_all(stage, entries) do
    in_order(
      Enum.reduce_while(entries, %Result{}, fn {_seq, item} = entry, result ->
        continue(settle(stage, entry, item.payload, result))
      end)
    )
  end

  defp in_order(result), do: %{result | on: Enum.reverse(result.on)}

  defp continue(%Result{halt: nil} = result), do: {:cont, result}
  defp continue(result), do: {:halt, result}

  defp each(stage, entries) do
    Enum.reduce_while(entries, %Result{}, fn {_seq, item} = entry, result ->
      continue(settle(stage, entry, call(stage, item), result))
    end)
  end

  # A batch handler that fails, fails all its items.
  defp batch(stage, entries) do
    answers =
      case call_batch(stage, Enum.map(entries, &elem(&1, 1))) do
        {:error, _reason} = error -> List.duplicate(error, length(entries))
        answers -> answers
      end

    entries
    |> Enum.zip(answers)
    |> Enum.reduce_while(%Result{}, fn {entry, answer}, result ->
      continue(settle(stage, entry, answer, result))
    end)
  end

  defp call(stage, item) do
    checked(stage, stage.module.handle_item(item, stage.context, stage.state))
  rescue
    exception -> {:error, raised(exception, __STACKTRACE__)}
  catch
    kind, value -> {:error, caught(kind, value, __STACKTRACE__)}
  end

  defp call_batch(stage, items) do
    count = length(items)

    case stage.module.handle_batch(items, stage.context, stage.state) do
      answers when is_list(answers) and length(answers) == count ->
        Enum.map(answers, &checked_alone(stage, &1))

      other ->
        {:error, {:invalid_return, wrong_count(other, count)}}
    end
  rescue
    exception -> {:error, raised(exception, __STACKTRACE__)}
  catch
    kind, value -> {:error, caught(kind, value, __STACKTRACE__)}
  end

  defp checked_alone(stage, answer) do
    checked(stage, answer)
  rescue
    exception -> {:error, raised(exception, __STACKTRACE__)}
  catch
    kind, value -> {:error, caught(kind, value, __STACKTRACE__)}
  end

  # Every answer that can't be one is an error of its item, so that it falls under the policy. An
  # enumerable is the user's code, too, and is read where the handler has run.
  defp checked(_stage, {:many, payloads}) do
    if Source.enumerable?(payloads),
      do: {:many, payloads |> Enum.to_list() |> Enum.map(&child!/1)},
      else:
        {:error, {:invalid_return, "answered {:many, #{short(payloads)}}, which takes a list"}}
  end

  defp checked(%{targets: targets}, {:route, output, _payload})
       when not is_map_key(targets, output),
       do: {:error, {:unknown_output, output}}

  defp checked(_stage, %Item{meta: meta}) when not is_map(meta),
    do: {:error, {:invalid_return, "answered an item whose meta is #{short(meta)}, not a map"}}

  defp checked(_stage, answer), do: answer

  defp child!(%Item{meta: meta}) when not is_map(meta),
    do: raise(ArgumentError, "one of many items has the meta #{short(meta)}, which is no map")

  defp child!(payload), do: payload

  defp settle(stage, {seq, item}, answer, result) do
    case answer do
      {:ok, payload} ->
        on(result, seq, %{item | payload: payload})

      {:route, output, payload} ->
        exit_at(stage, result, seq, output, %{item | payload: payload})

      {:skip, _reason} ->
        %{result | skipped: result.skipped + 1}

      {:many, payloads} ->
        many(result, {seq, item}, payloads)

      {:error, reason} ->
        fail(stage, result, seq, item, reason)

      %Item{} = changed ->
        on(result, seq, changed)

      payload ->
        on(result, seq, %{item | payload: payload})
    end
  end

  defp on(result, seq, item), do: %{result | on: [{seq, item} | result.on]}

  defp many(result, {seq, item}, payloads) do
    children =
      payloads
      |> Enum.with_index()
      |> Enum.map(fn {payload, index} ->
        child = if match?(%Item{}, payload), do: payload, else: %{item | payload: payload}
        {child_seq(seq, index), %{child | id: {item.id, index}}}
      end)

    expanded = length(children) - 1
    result = %{result | on: Enum.reverse(children, result.on)}
    # No children at all is a skip: the item ends here.
    if expanded < 0,
      do: %{result | skipped: result.skipped + 1},
      else: %{result | expanded: result.expanded + expanded}
  end

  # Lists sort before their extensions and between their neighbours.
  defp child_seq(seq, index), do: seq ++ [index]

  defp exit_at(stage, result, seq, output, item) do
    case Map.fetch!(stage.targets, output) do
      {:output, name} ->
        on = [{seq, {:exit, name, %{item | route: name}}} | result.on]
        %{result | on: on, out: result.out + 1}

      {:stage, index} ->
        %{result | on: [{seq, {:to, index, item}} | result.on]}
    end
  end

  defp fail(stage, result, seq, item, reason) do
    error = failure(stage, item, reason)
    met = %{result | errors: [error | result.errors]}

    case Policy.outcome(stage.policy, item, error) do
      :halt ->
        %{result | halt: {seq, error}}

      {:halt, broken} ->
        %{result | halt: {seq, failure(stage, item, broken)}}

      {:skipped, _item} ->
        %{met | skipped: result.skipped + 1}

      {{:routed, output}, item} ->
        case Map.fetch!(stage.policy_targets, output) do
          {:output, name} ->
            on = [{seq, {:exit, name, %{item | route: name}}} | result.on]
            %{met | on: on, routed: result.routed + 1}

          {:stage, index} ->
            %{met | on: [{seq, {:to, index, %{item | route: nil}}} | result.on]}
        end
    end
  end

  defp failure(stage, item, {:raised, text, cause}),
    do: error(stage, item, :handler_raised, text, cause)

  defp failure(stage, item, {:invalid_return, text}),
    do: error(stage, item, :invalid_return, text, nil)

  defp failure(stage, item, {:unknown_output, output}) do
    known = stage.targets |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)
    message = "the handler routed to #{inspect(output)}; declared outputs: #{known}"
    error(stage, item, :unknown_output, message, nil)
  end

  defp failure(stage, item, %Slither.Error{} = error),
    do: error(stage, item, error.reason, nil, error)

  defp failure(stage, item, reason),
    do: error(stage, item, :handler_error, "the handler answered #{short(reason)}", reason)

  defp error(stage, item, reason, message, cause) do
    %PipeError{
      pipe: stage.pipe,
      stage: stage.name,
      reason: reason,
      message: message,
      item: item.id,
      cause: cause
    }
  end

  # It says by itself what went wrong, and where.
  defp raised(%Slither.Error{reason: :expression} = error, _stacktrace), do: error

  defp raised(exception, stacktrace),
    do: {:raised, Exception.format(:error, exception, stacktrace), exception}

  defp caught(kind, value, stacktrace),
    do: {:raised, Exception.format(kind, value, stacktrace), {kind, value}}

  defp wrong_count(answers, count) when is_list(answers),
    do: "handle_batch returned #{length(answers)} answers for #{count} items"

  defp wrong_count(other, _count), do: "handle_batch returned #{short(other)}, not a list"

  defp short(value), do: inspect(value, limit: 5, printable_limit: 80)
end
