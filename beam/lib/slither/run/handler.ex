defmodule Slither.Run.Handler do
  @moduledoc false
  # A stage's code on BEAM, which implements `Slither.Stage`: calls it so that whatever it does is
  # an answer. Called by the node of the stage, in the process of the run, or by one of the
  # processes beside it that run a stage's batches.

  alias Slither.{Context, Error, Guarded, Item}
  alias Slither.Python.{Outcome, Timing}
  alias Slither.Run.{Answer, Policy, Result}

  require Logger

  @enforce_keys [:module, :context, :policy]
  defstruct [:module, :state, :context, :policy] ++
              [batch?: false, targets: %{}, policy_targets: %{}]

  @typedoc """
  `targets` and `policy_targets` say where the routes of handlers and of policies lead; with
  `batch?` the module gets the items that arrive together.
  """
  @type t :: %__MODULE__{
          module: module,
          state: term,
          context: Context.t(),
          policy: Policy.t(),
          batch?: boolean,
          targets: %{optional(Policy.output()) => Result.target()},
          policy_targets: %{optional(Policy.output()) => Result.target()}
        }

  @doc "Has the module begin with the stage's options."
  @spec init(module, term) :: {:ok, state :: term} | {:error, term}
  def init(module, options) do
    if Code.ensure_loaded?(module) and function_exported?(module, :init, 1) do
      name = "#{inspect(module)}.init/1"

      with {:ok, answer} <-
             Guarded.call(name, fn -> module.init(options) end, reason: :invalid_stage) do
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

  defp invalid(message), do: %Error{reason: :invalid_stage, message: message}

  @doc "Tells the module that the run has ended."
  @spec shutdown(t) :: any
  def shutdown(%__MODULE__{module: module, state: state}) do
    name = "#{inspect(module)}.shutdown/1"

    with true <- function_exported?(module, :shutdown, 1),
         {:error, error} <-
           Guarded.call(name, fn -> module.shutdown(state) end, reason: :invalid_stage),
         do: Logger.error(Exception.message(error))
  end

  @doc "The checked answer to one item."
  @spec call(t, Item.t()) :: term
  def call(handler, item) do
    Answer.check(handler, handler.module.handle_item(item, handler.context, handler.state))
  catch
    kind, value -> {:error, raised(kind, value, __STACKTRACE__)}
  end

  @doc "The checked answers to items that arrived together, or one error for all of them."
  @spec call_batch(t, [Item.t(), ...]) :: [term] | {:error, term}
  def call_batch(handler, items) do
    count = length(items)

    case handler.module.handle_batch(items, handler.context, handler.state) do
      answers when is_list(answers) and length(answers) == count ->
        Enum.map(answers, &check(handler, &1))

      other ->
        {:error, {:invalid_return, wrong_count(other, count)}}
    end
  catch
    kind, value -> {:error, raised(kind, value, __STACKTRACE__)}
  end

  # An answer that can't be read fails only its item.
  defp check(handler, answer) do
    Answer.check(handler, answer)
  catch
    kind, value -> {:error, raised(kind, value, __STACKTRACE__)}
  end

  @doc "Runs a batch in a process beside the run's, and answers as an executor does."
  @spec execute(t, [{term, Item.t()}, ...]) :: Outcome.t()
  def execute(handler, entries) do
    started = System.monotonic_time()
    items = Enum.map(entries, &elem(&1, 1))

    answers =
      if handler.batch?, do: call_batch(handler, items), else: Enum.map(items, &call(handler, &1))

    time = System.monotonic_time() - started
    times = %Timing{handler: time}

    case answers do
      {:error, reason} ->
        Outcome.error(Answer.failure(handler, hd(items), reason), times)

      answers ->
        errors =
          for {{item, {:error, reason}}, index} <- Enum.with_index(Enum.zip(items, answers)),
              into: %{},
              do: {index, Answer.failure(handler, item, reason)}

        Outcome.ok(answers, errors, times)
    end
  end

  defp raised(:error, value, stacktrace) do
    case Exception.normalize(:error, value, stacktrace) do
      # An expression says by itself what went wrong, and where.
      %Error{reason: :expression} = error ->
        error

      exception ->
        {:raised, Exception.format(:error, exception, stacktrace), exception}
    end
  end

  defp raised(kind, value, stacktrace),
    do: {:raised, Exception.format(kind, value, stacktrace), {kind, value}}

  @doc "The sentence for a batch whose answers are not as many as its items, or no list."
  @spec wrong_count(answers :: term, count :: pos_integer) :: String.t()
  def wrong_count(answers, count) when is_list(answers),
    do: "handle_batch returned #{length(answers)} answers for #{count} items"

  def wrong_count(other, _count), do: "handle_batch returned #{Answer.short(other)}, not a list"
end
