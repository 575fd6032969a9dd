defmodule Slither.Pipe.Inline do
  @moduledoc false
  # A stage that runs within the engine's process: it turns entries into those that go on and
  # those that leave, under the stage's error policy.

  alias Slither.Dispatch.Policy
  alias Slither.{Item, PipeError}

  @enforce_keys [:name, :module, :state, :context, :policy, :pipe]
  defstruct [:name, :module, :state, :context, :policy, :pipe, :outputs, batch?: false]

  defmodule Result do
    @moduledoc false
    defstruct on: [], exits: [], skipped: 0, expanded: 0, routed: 0, out: 0, halt: nil
  end

  @type t :: %__MODULE__{}
  @type entry :: {term, Item.t()}
  @type result :: %Result{}

  @doc "Runs entries through the stage; results are in order."
  @spec run(t, [entry]) :: %Result{}
  def run(%__MODULE__{} = stage, entries) do
    result = if stage.batch?, do: batch(stage, entries), else: each(stage, entries, %Result{})
    %{result | on: Enum.reverse(result.on), exits: Enum.reverse(result.exits)}
  end

  defp each(_stage, [], result), do: result

  defp each(stage, [{_seq, item} = entry | rest], result) do
    answer = attempt(stage, item, 1)

    case settle(stage, entry, answer, result) do
      %Result{halt: nil} = result -> each(stage, rest, result)
      result -> result
    end
  end

  # A batch handler that fails, fails all its items.
  defp batch(stage, entries) do
    items = Enum.map(entries, &elem(&1, 1))
    answers = attempt_batch(stage, items, 1)

    entries
    |> Enum.zip(answers)
    |> Enum.reduce_while(%Result{}, fn {entry, answer}, result ->
      case settle(stage, entry, answer, result) do
        %Result{halt: nil} = result -> {:cont, result}
        result -> {:halt, result}
      end
    end)
  end

  defp attempt(stage, item, attempt) do
    answer =
      try do
        stage.module.handle_item(item, stage.context, stage.state)
      rescue
        exception -> {:error, raised(exception, __STACKTRACE__)}
      catch
        kind, value -> {:error, caught(kind, value, __STACKTRACE__)}
      end

    again(stage, answer, attempt, &attempt(stage, item, &1))
  end

  defp attempt_batch(stage, items, attempt) do
    count = length(items)

    answer =
      try do
        case stage.module.handle_batch(items, stage.context, stage.state) do
          answers when is_list(answers) and length(answers) == count -> answers
          other -> {:error, {:invalid_return, wrong_count(other, count)}}
        end
      rescue
        exception -> {:error, raised(exception, __STACKTRACE__)}
      catch
        kind, value -> {:error, caught(kind, value, __STACKTRACE__)}
      end

    case again(stage, answer, attempt, &attempt_batch(stage, items, &1)) do
      {:error, _reason} = error -> List.duplicate(error, count)
      {:failed, _reason, _attempts} = failed -> List.duplicate(failed, count)
      answers -> answers
    end
  end

  # A handler on BEAM is tried again at once: nobody else's work waits on a pause here, and a
  # handler that needs one knows how long.
  defp again(stage, {:error, reason}, attempt, retry) do
    case Policy.pause(stage.policy, attempt, reason_atom(reason)) do
      :no -> {:failed, reason, attempt}
      _pause -> retry.(attempt + 1)
    end
  end

  defp again(_stage, answer, _attempt, _retry), do: answer

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

      {:failed, reason, attempts} ->
        fail(stage, result, seq, item, reason, attempts)

      {:error, reason} ->
        fail(stage, result, seq, item, reason, 1)

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
    if output in stage.outputs do
      exits = [{seq, output, %{item | route: output}} | result.exits]
      %{result | exits: exits, out: result.out + 1}
    else
      known = Enum.map_join(stage.outputs, ", ", &inspect/1)
      message = "the handler routed to #{inspect(output)}; declared outputs: #{known}"
      %{result | halt: {seq, error(stage, item, :unknown_output, message, nil)}}
    end
  end

  defp fail(stage, result, seq, item, reason, attempts) do
    error = failure(stage, item, reason)
    item = if attempts > 1, do: Item.put_meta(item, attempts: attempts), else: item

    case Policy.outcome(stage.policy, item, error) do
      :halt ->
        %{result | halt: {seq, error}}

      {:skipped, _item} ->
        %{result | skipped: result.skipped + 1}

      {{:routed, output}, item} ->
        if output in stage.outputs do
          %{result | exits: [{seq, output, item} | result.exits], routed: result.routed + 1}
        else
          message = "the error policy routed to #{inspect(output)}, which is not declared"
          %{result | halt: {seq, error(stage, item, :unknown_output, message, reason)}}
        end
    end
  end

  defp failure(stage, item, {:raised, text, cause}),
    do: error(stage, item, :handler_raised, text, cause)

  defp failure(stage, item, {:invalid_return, text}),
    do: error(stage, item, :invalid_return, text, nil)

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

  defp reason_atom({:raised, _text, _cause}), do: :handler_raised
  defp reason_atom({:invalid_return, _text}), do: :invalid_return
  defp reason_atom(_reason), do: :handler_error

  defp raised(exception, stacktrace),
    do: {:raised, Exception.format(:error, exception, stacktrace), exception}

  defp caught(kind, value, stacktrace),
    do: {:raised, Exception.format(kind, value, stacktrace), {kind, value}}

  defp wrong_count(answers, count) when is_list(answers),
    do: "handle_batch returned #{length(answers)} answers for #{count} items"

  defp wrong_count(other, _count), do: "handle_batch returned #{short(other)}, not a list"

  defp short(value), do: inspect(value, limit: 5, printable_limit: 80)
end
