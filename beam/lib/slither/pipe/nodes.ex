defmodule Slither.Pipe.Nodes do
  @moduledoc false
  # The nodes of a run, from the stages of a pipe's definition: what each type of stage does with
  # its entries is decided here. Called by `Slither.Pipe.Run` before a run begins.

  alias Slither.{Context, PipeError}
  alias Slither.Dispatch.Settings
  alias Slither.Dispatch.Strategies.Arrival
  alias Slither.Pipe.Definition
  alias Slither.Run.{Batcher, Handler, Mailbox, Node, Plan, Policy}
  alias Slither.Run.Node.{Batches, Inline, Regroup}
  alias Slither.Stage.Expression

  @enforce_keys [:definition, :context, :mailbox, :options, :bounded?]
  defstruct [:definition, :context, :mailbox, :options, :bounded?]

  @typedoc "What the nodes of a run share; with `bounded?` results that wait count as in flight."
  @type t :: %__MODULE__{
          definition: Definition.t(),
          context: Context.t(),
          mailbox: Mailbox.t(),
          options: keyword,
          bounded?: boolean
        }

  @doc "The nodes, ready to take entries. Where one can't be built, the others are shut down again."
  @spec build(t) :: {:ok, [Node.t()]} | {:error, PipeError.t()}
  def build(run), do: build(run.definition.stages, 0, run, [])

  defp build([], _index, _run, nodes), do: {:ok, Enum.reverse(nodes)}

  defp build([stage | rest], index, run, nodes) do
    # A run that collects its outputs keeps the last Python stage's results anyway, so that stage
    # alone may hold any number of them.
    bounded? = run.bounded? or Enum.any?(rest, &(&1.type == :python))
    inbox = Mailbox.inbox(run.mailbox, index)
    at = %{inbox: inbox, last?: rest == [], bounded?: bounded?}

    case state(stage, at, run) do
      {:ok, state} ->
        build(rest, index + 1, run, [node(stage, index, state, run) | nodes])

      {:error, reason} ->
        for node <- Enum.reverse(nodes) do
          node.module.free(node.state)
          node.module.shutdown(node.state)
        end

        {:error, error(run.definition, stage, reason)}
    end
  end

  defp node(stage, index, state, run) do
    facts = %{
      run: run.context.runtime.run,
      pipe: run.definition.name,
      stage: stage.name,
      type: stage.type
    }

    ordered? = not (stage.type == :python and stage.options[:ordering] == :as_completed)
    Node.new(index, facts, state, ordered?)
  end

  defp state(%{type: :python} = stage, at, run) do
    policy = stage.policy || :halt
    settings = [on_error: policy, session_id: run.options[:session_id]]
    settings = Keyword.merge(stage.options, settings)

    with {:ok, plan} <- Plan.new(settings, context(stage, run), at.bounded?) do
      plan = %{plan | policy: policy(stage, run)}
      {:ok, batches(stage, plan, Settings.batcher(settings), at, last?: at.last?)}
    end
  end

  defp state(%{type: :batch, options: options}, at, _run),
    do: {:ok, %Regroup{size: options[:size], timeout: options[:timeout], inbox: at.inbox}}

  defp state(stage, at, run) do
    with {:ok, state} <- Handler.init(stage.module, stage.options) do
      handler = %Handler{
        module: stage.module,
        state: state,
        context: context(stage, run),
        policy: policy(stage, run),
        batch?: batch?(stage, state),
        targets: stage.targets,
        policy_targets: stage.policy_targets
      }

      hands = if stage.type == :beam, do: stage.options[:concurrency], else: 1

      if hands > 1 or pauses?(stage, handler),
        do: {:ok, beside(stage, handler, hands, at)},
        else: {:ok, %Inline{handler: handler}}
    end
  end

  # A handler whose policy pauses between attempts runs in processes
  # beside the run, so that the other stages go on meanwhile. An
  # expression fails the same way each time, and is never tried again.
  defp pauses?(stage, handler), do: handler.policy.retry != nil and stage.module != Expression

  defp beside(stage, handler, hands, at) do
    execute = &Handler.execute(handler, &1)
    plan = Plan.local(execute, handler.policy, handler.context, hands, at.bounded?)
    batches(stage, plan, Batcher.ours(Arrival, hands: hands), at, handler: handler)
  end

  defp batches(stage, plan, batcher, at, options),
    do: Batches.new(plan, batcher, at.inbox, [targets: stage.policy_targets] ++ options)

  defp context(stage, run), do: %{run.context | stage: stage.name, stores: stage.stores}

  # A policy routes to one of the declared outputs. A run that others feed is lenient (see `Policy`),
  # so that their items are not lost because a function of the policy fails.
  defp policy(stage, run) do
    policy = Policy.new!(stage.policy || :halt)
    %{policy | targets: stage.policy_targets, lenient: run.options[:lenient] == true}
  end

  defp batch?(%{type: :beam}, state), do: state.batch_handler != nil
  defp batch?(%{type: :router}, _state), do: false
  defp batch?(%{module: module}, _state), do: function_exported?(module, :handle_batch, 3)

  @doc "Whether the stages could be built: their pools are there, and their executors can be used."
  @spec check(Definition.t(), Context.t()) :: :ok | {:error, PipeError.t()}
  def check(definition, context) do
    Enum.find_value(definition.stages, :ok, fn stage ->
      with :python <- stage.type, {:error, error} <- Plan.new(stage.options, context, true) do
        {:error, error(definition, stage, error)}
      else
        _fine -> nil
      end
    end)
  end

  defp error(definition, stage, error) do
    reason =
      if is_exception(error), do: Map.get(error, :reason, :invalid_stage), else: :invalid_stage

    %PipeError{pipe: definition.name, stage: stage.name, reason: reason, cause: error}
  end
end
