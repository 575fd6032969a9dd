defmodule Slither.Run.Stages do
  @moduledoc false
  # The stages of a run, from their definition: those with a flow, those that regroup, and those
  # that run in place.

  require Logger

  alias Slither.{Context, Guarded, PipeError}
  alias Slither.Dispatch.Strategies
  alias Slither.Run.{Batcher, Flow, Mailbox, Plan, Policy}
  alias Slither.Pipe.Definition
  alias Slither.Run.{Inline, Queue, Regroup}
  alias Slither.Stage.Expression

  @type stage :: Queue.t() | Inline.t() | Regroup.t()

  @doc "The context of a run, which its stages share but for their names."
  @spec context(Definition.t(), keyword) :: Context.t()
  def context(definition, options) do
    run = "run-#{System.unique_integer([:positive])}"

    %Context{
      pipe: definition.name,
      session_id: options[:session_id] || run,
      stores: definition.stores,
      metadata: options[:metadata],
      runtime: %{run: run}
    }
  end

  @doc """
  The stages of a definition, ready to take entries; their inboxes are known by
  their places in the pipe. Where one can't be built, the others are shut down again.
  """
  @spec build(Definition.t(), Context.t(), {Mailbox.t(), keyword, boolean}) ::
          {:ok, [stage]} | {:error, PipeError.t()}
  def build(definition, context, {_mailbox, _options, _bounded} = run),
    do: build(definition.stages, definition, context, run, [])

  defp build([], _definition, _context, _run, stages), do: {:ok, Enum.reverse(stages)}

  defp build([%{type: :python} = stage | rest], definition, context, run, stages) do
    {_mailbox, options, bounded} = run
    policy = stage.policy || :halt
    settings = Keyword.merge(stage.options, on_error: policy, session_id: options[:session_id])
    context = %{context | stores: stage.stores}

    # Only the last stage of a run may hold what it likes: it holds what the run collects.
    bounded = bounded or Enum.any?(rest, &(&1.type == :python))

    case Plan.new(settings, %{context | stage: stage.name}, bounded) do
      {:ok, plan} ->
        plan = %{plan | policy: policy(stage, options)}
        flow = Flow.new(plan, inbox(run, stages))
        # What leaves the last stage waits for no other.
        flow = if rest == [], do: Flow.give_whole(flow), else: flow
        batcher = Batcher.new(settings)

        queue = %Queue{
          name: stage.name,
          batcher: batcher,
          fresh: batcher,
          flow: flow,
          targets: stage.policy_targets
        }

        build(rest, definition, context, run, [queue | stages])

      {:error, error} ->
        Enum.each(stages, &abort/1)
        {:error, error(definition, stage, error)}
    end
  end

  defp build([%{type: :batch} = stage | rest], definition, context, run, stages) do
    options = stage.options
    inbox = inbox(run, stages)

    group = %Regroup{
      name: stage.name,
      size: options[:size],
      timeout: options[:timeout],
      inbox: inbox
    }

    build(rest, definition, context, run, [group | stages])
  end

  defp build([stage | rest], definition, context, {_mailbox, options, _bounded} = run, stages) do
    with {:ok, state} <- init(stage) do
      inline = %Inline{
        name: stage.name,
        module: stage.module,
        state: state,
        context: %{context | stage: stage.name, stores: stage.stores},
        policy: policy(stage, options),
        pipe: definition.name,
        targets: stage.targets,
        policy_targets: stage.policy_targets,
        batch?: batch?(stage, state)
      }

      build(rest, definition, context, run, [beside(inline, stage, rest, run, stages) | stages])
    else
      {:error, reason} ->
        Enum.each(stages, &abort/1)
        {:error, error(definition, stage, reason)}
    end
  end

  # A handler runs in place, unless it is to be shared out or to pause between attempts: then it
  # has a flow, and the other stages go on.
  defp beside(inline, stage, rest, {_mailbox, _options, bounded} = run, stages) do
    hands = if stage.type == :beam, do: stage.options[:concurrency], else: 1
    # No second attempt mends an expression.
    pauses? = inline.policy.retry != nil and stage.module != Expression

    if hands > 1 or pauses? do
      answers = &Inline.answers(inline, &1)
      bounded = bounded or Enum.any?(rest, &(&1.type == :python))
      plan = Plan.local(answers, inline.policy, inline.context, hands, bounded)
      batcher = Batcher.new(strategy: Strategies.Arrival, hands: hands)

      %Queue{
        name: stage.name,
        batcher: batcher,
        fresh: batcher,
        flow: Flow.new(plan, inbox(run, stages)),
        handler: inline,
        targets: stage.policy_targets
      }
    else
      inline
    end
  end

  defp inbox({mailbox, _options, _bounded}, before), do: Mailbox.inbox(mailbox, length(before))

  # In a pipe a route has its declared names to choose from; see `Policy` on those that fail.
  defp policy(stage, options) do
    policy = Policy.new!(stage.policy || :halt)
    %{policy | targets: stage.policy_targets, lenient: options[:lenient] == true}
  end

  defp init(%{module: module} = stage) do
    if Code.ensure_loaded?(module) and function_exported?(module, :init, 1) do
      name = "#{inspect(module)}.init/1"

      with {:ok, answer} <-
             Guarded.call(name, fn -> module.init(stage.options) end, reason: :invalid_stage) do
        case answer do
          {:ok, state} -> {:ok, state}
          {:error, reason} -> {:error, reason}
          other -> {:error, invalid("#{name} returned #{inspect(other, limit: 5)}")}
        end
      end
    else
      {:error, invalid("#{inspect(module)} does not implement Slither.Stage")}
    end
  end

  defp invalid(message), do: %Slither.Error{reason: :invalid_stage, message: message}

  defp batch?(%{type: :beam}, state), do: state.batch_handler != nil
  defp batch?(%{type: :router}, _state), do: false
  defp batch?(%{module: module}, _state), do: function_exported?(module, :handle_batch, 3)

  defp abort(stage) do
    if is_struct(stage, Queue), do: Flow.close(stage.flow)
    shutdown(stage)
  end

  @doc "Ends a stage that has taken its last entry."
  @spec shutdown(stage) :: term
  def shutdown(%Inline{module: module, state: state}) do
    name = "#{inspect(module)}.shutdown/1"

    with true <- function_exported?(module, :shutdown, 1),
         {:error, error} <-
           Guarded.call(name, fn -> module.shutdown(state) end, reason: :invalid_stage),
         do: Logger.error(Exception.message(error))
  end

  def shutdown(%Queue{handler: %Inline{} = handler}), do: shutdown(handler)
  def shutdown(%Regroup{} = group), do: Regroup.stop(group)
  def shutdown(_stage), do: :ok

  @doc "Why a stage can't be built."
  @spec error(Definition.t(), map, term) :: PipeError.t()
  def error(definition, stage, error) do
    reason =
      if is_exception(error), do: Map.get(error, :reason, :invalid_stage), else: :invalid_stage

    %PipeError{pipe: definition.name, stage: stage.name, reason: reason, cause: error}
  end
end
