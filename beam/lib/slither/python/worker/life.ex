defmodule Slither.Python.Worker.Life do
  @moduledoc false
  # Where a worker is between its start and its end, why it ends, and what it may still do until it
  # has done enough. Pure: the worker's owner tells it what happens, and carries out the effects.
  #
  # A worker has done enough when it meets a limit: `max_requests`, `max_age` or `max_rss`. Its own
  # are lower by up to a tenth, so that workers which started together do not leave together.

  alias Slither.Error

  @no_limits %{requests: nil, rss: nil, age: nil}

  defstruct phase: :starting, reason: nil, leaves: nil, limits: @no_limits, look: :none

  @typedoc """
  A worker is `:stopping` once it is told to leave, `:killed` until the system says that it is gone,
  and `:down` then. `reason` is why its calls fail, `leaves` why it was told to leave. `look` says
  when its memory is looked at next: not (`:none`), when a timer fires (`:set`), or when it has
  answered a call (`:due`).
  """
  @type t :: %__MODULE__{
          phase: :starting | :ready | :stopping | :killed | :down,
          reason: Error.t() | nil,
          leaves: atom,
          limits: %{
            requests: pos_integer | nil,
            rss: pos_integer | nil,
            age: pos_integer | nil
          },
          look: :none | :set | :due
        }
  @type limit :: :max_requests | :max_rss | :max_age
  @typedoc """
  `:look` and `:aged` set a timer, `:measure` asks for the memory it takes, `:due` and `:rss_low` are
  for the scheduler.
  """
  @type effect ::
          :look
          | :measure
          | {:aged, pos_integer}
          | {:due, limit, non_neg_integer}
          | {:rss_low, non_neg_integer}

  @doc """
  It is ready, and takes `rss` bytes; nil where nobody asked. `max_rss` does not apply to one that is
  beyond it from the start.
  """
  @spec ready(t, map, non_neg_integer | nil) :: {[effect], t}
  def ready(life, settings, rss) do
    %{max_requests: requests, max_age: age, max_rss: max_rss} = settings
    low? = max_rss != nil and rss != nil and rss >= max_rss
    rss_limit = if max_rss != nil and rss != nil and not low?, do: sooner(max_rss, max_rss - rss)
    limits = %{requests: sooner(requests, requests), age: sooner(age, age), rss: rss_limit}
    aged = if limits.age, do: [{:aged, limits.age}], else: []
    low = if low?, do: [{:rss_low, rss}], else: []
    {low ++ aged, %{life | phase: :ready, limits: limits}}
  end

  defp sooner(nil, _span), do: nil
  defp sooner(limit, span), do: limit - (:rand.uniform(div(span, 10) + 1) - 1)

  @doc "It can't start: `error` is why it ends."
  @spec fail(t, Error.t()) :: t
  def fail(life, error), do: %{life | reason: life.reason || error}

  @doc "It is told to leave: whether to ask it to, or to end it at once."
  @spec stop(t, atom) :: {:ask | :kill | :ignore, t}
  def stop(%__MODULE__{phase: :ready} = life, why),
    do: {:ask, %{life | phase: :stopping, leaves: why}}

  def stop(%__MODULE__{phase: :starting} = life, why), do: {:kill, %{life | leaves: why}}
  def stop(life, _why), do: {:ignore, life}

  @doc "It is killed, with the reason of the first who had it killed."
  @spec kill(t, Error.t()) :: t
  def kill(life, error), do: %{fail(life, error) | phase: :killed}

  @doc "It is gone."
  @spec down(t) :: t
  def down(life), do: %{life | phase: :down}

  @doc "It has answered a call, `count` by now. Memory is looked at where the last look is due."
  @spec served(t, pos_integer) :: {[effect], t}
  def served(%__MODULE__{limits: limits} = life, count) do
    due = if count == limits.requests, do: [{:due, :max_requests, count}], else: []

    case {limits.rss, life.look} do
      {nil, _look} -> {due, life}
      {_rss, :due} -> {due ++ [:measure], %{life | look: :none}}
      {_rss, :none} -> {due ++ [:look], %{life | look: :set}}
      {_rss, :set} -> {due, life}
    end
  end

  @doc "The timer has fired. Memory is measured between calls, once the last one's is given back."
  @spec look(t, idle? :: boolean) :: {[effect], t}
  def look(life, true), do: {[:measure], %{life | look: :none}}
  def look(life, false), do: {[], %{life | look: :due}}

  @doc "It takes `rss` bytes; nil where nobody can tell."
  @spec measured(t, non_neg_integer | nil) :: [effect]
  def measured(%__MODULE__{limits: %{rss: most}}, rss)
      when is_integer(most) and is_integer(rss) and rss >= most,
      do: [{:due, :max_rss, rss}]

  def measured(_life, _rss), do: []

  @doc "It is as old as it may become."
  @spec aged(t) :: [effect]
  def aged(life), do: [{:due, :max_age, life.limits.age}]
end
