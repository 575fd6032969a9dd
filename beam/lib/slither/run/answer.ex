defmodule Slither.Run.Answer do
  @moduledoc false
  # What a handler's answer to an item means: which values are answers at all, what each makes of
  # the item, and the error of one that fails it. Pure but for the user's enumerables and policy
  # functions, which are read here. `Handler` checks answers where it got them; the nodes of a run
  # settle them in the run's own process.

  alias Slither.{Item, PipeError}
  alias Slither.Run.{Handler, Policy, Result, Source}

  @doc """
  An answer, or `{:error, reason}` in place of a value that can't be one, so that its item falls
  under the policy. An enumerable may raise, as any code of the user's.
  """
  @spec check(Handler.t(), term) :: term
  def check(_handler, {:many, payloads}) do
    if Source.enumerable?(payloads),
      do: {:many, payloads |> Enum.to_list() |> Enum.map(&child!/1)},
      else:
        {:error, {:invalid_return, "answered {:many, #{short(payloads)}}, which takes a list"}}
  end

  def check(%{targets: targets}, {:route, output, _payload}) when not is_map_key(targets, output),
    do: {:error, {:unknown_output, output}}

  def check(_handler, %Item{meta: meta}) when not is_map(meta),
    do: {:error, {:invalid_return, "answered an item whose meta is #{short(meta)}, not a map"}}

  def check(_handler, answer), do: answer

  defp child!(%Item{meta: meta}) when not is_map(meta),
    do: raise(ArgumentError, "one of many items has the meta #{short(meta)}, which is no map")

  defp child!(payload), do: payload

  @doc "Adds to a result what a checked answer makes of its entry."
  @spec settle(Result.t(), Handler.t(), {Result.seq(), Item.t()}, term) :: Result.t()
  def settle(result, handler, {seq, item}, answer) do
    case answer do
      {:ok, payload} ->
        Result.on(result, seq, %{item | payload: payload})

      {:route, output, payload} ->
        Result.leave(result, seq, %{item | payload: payload}, Map.fetch!(handler.targets, output))

      {:skip, reason} ->
        Result.skip(result, seq, reason)

      # A handler that makes no items of its item skips it.
      {:many, []} ->
        Result.skip(result, seq, :no_items)

      {:many, payloads} ->
        many(result, seq, item, payloads)

      {:error, reason} ->
        fail(result, handler, seq, item, reason)

      %Item{} = changed ->
        Result.on(result, seq, changed)

      payload ->
        Result.on(result, seq, %{item | payload: payload})
    end
  end

  # Children extend their parent's seq: those of [3] get
  # [3, 0] and [3, 1], which sort after [3] and before [4].
  defp many(result, seq, item, payloads) do
    children =
      for {payload, index} <- Enum.with_index(payloads) do
        child = if match?(%Item{}, payload), do: payload, else: %{item | payload: payload}
        {seq ++ [index], %{child | id: {item.id, index}}}
      end

    on = Enum.reverse(children, result.on)
    %{result | on: on, expanded: result.expanded + length(children) - 1}
  end

  defp fail(result, handler, seq, item, reason) do
    error = failure(handler, item, reason)

    case Policy.outcome(handler.policy, item, error) do
      :halt -> %{result | halt: {seq, error}}
      {:halt, broken} -> %{result | halt: {seq, failure(handler, item, broken)}}
      {outcome, item} -> Result.failed(result, seq, outcome, item, handler.policy_targets)
    end
  end

  @doc "The error of an item whose handler answered `{:error, reason}`, or was said to."
  @spec failure(Handler.t(), Item.t(), term) :: PipeError.t()
  def failure(handler, item, {:raised, text, cause}),
    do: error(handler, item, :handler_raised, text, cause)

  def failure(handler, item, {:invalid_return, text}),
    do: error(handler, item, :invalid_return, text, nil)

  def failure(handler, item, {:unknown_output, output}) do
    known = handler.targets |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)
    message = "the handler routed to #{inspect(output)}; declared outputs: #{known}"
    error(handler, item, :unknown_output, message, nil)
  end

  def failure(handler, item, %Slither.Error{} = error),
    do: error(handler, item, error.reason, nil, error)

  def failure(handler, item, reason),
    do: error(handler, item, :handler_error, "the handler answered #{short(reason)}", reason)

  defp error(handler, item, reason, message, cause) do
    %PipeError{
      pipe: handler.context.pipe,
      stage: handler.context.stage,
      reason: reason,
      message: message,
      item: item.id,
      cause: cause
    }
  end

  @doc "A value as errors show it."
  @spec short(term) :: String.t()
  def short(value), do: inspect(value, limit: 5, printable_limit: 80)
end
