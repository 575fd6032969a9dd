defmodule Slither.Run.Policy do
  @moduledoc false
  # What becomes of items that failed: the one reading of `on_error:`, for dispatches and pipes. Plain
  # data; `outcome/3` calls the user's route function in the process that drives the run.

  alias Slither.{Error, Guarded, Item, Options}

  require Logger

  @retry [
    max_attempts: [type: :pos_integer, default: 3, doc: "Attempts in all, the first included."],
    base_ms: [type: :non_neg_integer, default: 100, doc: "Pause before the second attempt."],
    max_ms: [type: :non_neg_integer, default: 10_000, doc: "The longest pause."],
    jitter: [type: :boolean, default: true, doc: "Whether pauses are drawn from half to full."],
    on: [
      type: {:or, [{:list, :atom}, {:in, [:any]}]},
      default: :any,
      doc: "The reasons to retry, `:any` for all that a second attempt may mend."
    ],
    then: [type: :any, default: :halt, doc: "The policy once the attempts are used up."]
  ]

  # Reasons for which a second attempt would fail in the same way.
  @final [:not_encodable, :missing_option, :unknown_pool, :unknown_command, :import_failed] ++
           [:expression, :session_lost, :invalid_strategy, :weight_failed]

  defstruct action: :halt, retry: nil, targets: nil, lenient: false

  @type output :: atom | String.t()
  @type action :: :halt | :skip | {:route, output | (Item.t(), term -> output)}
  @typedoc """
  `targets` are the names that a route may have, nil for any. A `lenient` policy skips an item whose
  route function fails, where it would end the run: a long-running pipe holds the items of others.
  """
  @type t :: %__MODULE__{
          action: action,
          retry: map | nil,
          targets: map | nil,
          lenient: boolean
        }

  @doc "Words for errors and docs."
  @spec accepted() :: String.t()
  def accepted,
    do: ":halt, :skip, {:route, output_or_fun}, or {:retry, max_attempts: n, then: policy}"

  @doc "The documentation of the retry options."
  @spec retry_docs() :: String.t()
  def retry_docs, do: Options.docs(@retry)

  @doc "Whether a term is a policy."
  @spec valid?(term) :: boolean
  def valid?(policy), do: match?({:ok, _}, new(policy))

  @doc "The policy of an `on_error` value."
  @spec new(term) :: {:ok, t} | {:error, Error.t()}
  def new(action) when action in [:halt, :skip], do: {:ok, %__MODULE__{action: action}}

  def new({:route, target})
      when (is_atom(target) and target not in [nil, true, false]) or is_binary(target) or
             is_function(target, 2),
      do: {:ok, %__MODULE__{action: {:route, target}}}

  def new({:retry, options}) do
    with {:ok, checked} <- Options.validate(options, @retry, "on_error {:retry, …}"),
         {:ok, then} <- new_final(checked[:then]) do
      {:ok, %{then | retry: Map.new(checked)}}
    end
  end

  def new(other) do
    {:error,
     %Error{
       reason: :invalid_option,
       message: "option :on_error takes #{accepted()}, got #{inspect(other)}",
       details: %{option: :on_error, value: other}
     }}
  end

  @doc "As `new/1`, raising."
  @spec new!(term) :: t
  def new!(policy) do
    case new(policy) do
      {:ok, policy} -> policy
      {:error, error} -> raise error
    end
  end

  @doc "ms to wait before the next attempt, or `:no` when there is none."
  @spec pause(t, pos_integer, atom) :: non_neg_integer | :no
  def pause(%__MODULE__{retry: nil}, _attempt, _reason), do: :no

  def pause(%__MODULE__{retry: retry}, attempt, reason) do
    if attempt < retry.max_attempts and mends?(retry.on, reason) do
      full = min(retry.max_ms, retry.base_ms * Integer.pow(2, min(attempt - 1, 30)))
      half = div(full, 2)
      if retry.jitter and half > 0, do: half + :rand.uniform(full - half), else: full
    else
      :no
    end
  end

  @doc "An item's outcome under the policy: what a dispatch makes of its failure."
  @spec outcome(t, Item.t(), Exception.t()) ::
          {:skipped, Item.t()} | {{:routed, output}, Item.t()} | :halt | {:halt, Error.t()}
  def outcome(%__MODULE__{action: :halt}, _item, _error), do: :halt

  def outcome(%__MODULE__{action: :skip}, item, error),
    do: {:skipped, Item.put_meta(item, error: error, skipped: true)}

  def outcome(%__MODULE__{action: {:route, target}} = policy, item, error) do
    item = Item.put_meta(item, error: error)

    case route(policy, target, item, error) do
      {:ok, output} -> {{:routed, output}, %{item | route: output}}
      {:error, broken} -> broken(policy, item, broken)
    end
  end

  defp route(policy, target, item, error) when is_function(target) do
    name = "the route function of on_error"
    check = &named/1

    with {:ok, output} <-
           Guarded.call(name, fn -> target.(item, error) end, reason: :policy_failed, check: check),
         do: declared(policy, output, error)
  end

  defp route(policy, target, _item, error), do: declared(policy, target, error)

  defp named(output)
       when is_binary(output) or (is_atom(output) and output not in [nil, true, false]),
       do: :ok

  defp named(other), do: {:error, "gave #{inspect(other, limit: 5)}, which is no output's name"}

  defp declared(%__MODULE__{targets: targets}, output, _error)
       when targets == nil or is_map_key(targets, output),
       do: {:ok, output}

  defp declared(_policy, output, error) do
    {:error,
     %Error{
       reason: :unknown_output,
       message: "the error policy routed to #{inspect(output)}, which is not declared",
       details: %{failure: error}
     }}
  end

  defp broken(%__MODULE__{lenient: false}, _item, broken), do: {:halt, broken}

  defp broken(_lenient, item, broken) do
    Logger.error(
      "item #{inspect(item.id)} has failed, and is skipped, as its policy failed too: " <>
        "#{Exception.message(broken)}; its own failure: #{Exception.message(item.meta.error)}"
    )

    {:skipped, Item.put_meta(item, skipped: true)}
  end

  defp new_final({:retry, _options} = nested) do
    {:error,
     %Error{
       reason: :invalid_option,
       message: "then: takes :halt, :skip or {:route, …}, got #{inspect(nested)}",
       details: %{option: :then}
     }}
  end

  defp new_final(policy), do: new(policy)

  defp mends?(:any, reason), do: reason not in @final
  defp mends?(reasons, reason), do: reason in reasons
end
