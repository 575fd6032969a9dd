defmodule Slither.Error do
  @moduledoc """
  What went wrong, where, and how to fix it.

  `reason` is an atom a program can match; `message` is the sentence for a person; `where`
  names the place (a function, a store, a pool, `stage :predict, batch 3, item 17`); `hint`
  says how to fix it; `details` carries facts by name.

  A Python exception has reason `:python_exception` and carries `python`, a map of `:type`,
  `:message` and `:traceback`, all strings. `details["raised"]` lists it and the exceptions that
  are its cause, context or parts, as maps with string keys: `"type"`, `"message"`, `"args"`,
  `"attributes"`, `"notes"` and more, as chapter 5 of `protocol/PROTOCOL.md` says.

      iex> error = %Slither.Error{reason: :unknown_pool, message: "no pool :gpu is running",
      ...>   where: "Slither.dispatch/2", hint: "known pools: :default"}
      iex> Exception.message(error)
      "Slither.dispatch/2: no pool :gpu is running (known pools: :default)"
  """

  defexception [:reason, :message, :where, :hint, :python, details: %{}]

  @type python :: %{type: String.t(), message: String.t(), traceback: String.t()}

  @type t :: %__MODULE__{
          reason: atom,
          message: String.t(),
          where: String.t() | nil,
          hint: String.t() | nil,
          python: python | nil,
          details: map
        }

  @impl true
  @spec message(t) :: String.t()
  def message(%__MODULE__{} = error) do
    where = if error.where, do: "#{error.where}: ", else: ""
    hint = if error.hint, do: " (#{error.hint})", else: ""
    traceback = if error.python, do: "\n#{error.python.traceback}", else: ""
    where <> to_string(error.message) <> hint <> traceback
  end

  @doc false
  # What a cause says, for the errors that have one.
  @spec told(term) :: String.t()
  def told(cause) when is_exception(cause), do: Exception.message(cause)
  def told(cause), do: inspect(cause)
end

defmodule Slither.DispatchError do
  @moduledoc """
  Why a batch, or one item of it, failed in a dispatch.

    * `reason`: an atom to match on: `:python_exception`, `:wrong_result`, `:not_encodable`,
      `:timeout`, `:memory`, `:worker_died`, `:session_lost`, `:saturated`, `:queue_timeout`,
      `:pool_unavailable`, `:unknown_pool`, `:too_large`, `:handler_failure` or
      `:executor_failed`;
    * `message`: the sentence, with the Python traceback where there is one;
    * `stage`: the pipe's stage, `nil` outside a pipe;
    * `batch`: the batch's number in its run, from 0;
    * `item`: the id of the item, when a single item failed;
    * `attempts`: how many times it was tried;
    * `cause`: the `Slither.Error` (or what a custom executor returned).
  """

  defexception [:reason, :message, :stage, :batch, :item, :cause, attempts: 1]

  @reasons [:python_exception, :wrong_result, :not_encodable, :timeout, :memory] ++
             [
               :worker_died,
               :session_lost,
               :saturated,
               :queue_timeout,
               :pool_unavailable,
               :unknown_pool
             ] ++
             [:too_large, :handler_failure, :executor_failed]

  @doc false
  @spec reasons() :: [atom]
  def reasons, do: @reasons

  @type t :: %__MODULE__{
          reason: atom,
          message: String.t() | nil,
          stage: atom | String.t() | nil,
          batch: non_neg_integer | nil,
          item: term,
          cause: term,
          attempts: pos_integer
        }

  @impl true
  @spec message(t) :: String.t()
  def message(%__MODULE__{} = error) do
    place =
      [
        error.stage && "stage #{inspect(error.stage)}",
        error.batch && "batch #{error.batch}",
        error.item && "item #{inspect(error.item)}",
        error.attempts > 1 && "after #{error.attempts} attempts"
      ]
      |> Enum.filter(& &1)
      |> Enum.join(", ")

    text = error.message || Slither.Error.told(error.cause || error.reason)
    if place == "", do: text, else: "#{place}: #{text}"
  end
end

defmodule Slither.PipeError do
  @moduledoc """
  Why a run of a pipe stopped.

    * `pipe`: the pipe's name; `stage`: the stage it stopped in, `nil` if none;
    * `reason`: an atom to match on: the `reason` of `cause` where it is a Slither error,
      (`:expression`, say), else `:handler_raised`, `:handler_error`, `:unknown_output` or
      `:invalid_return`, or `:sink_failed`, which only whoever asked for acknowledgements sees;
    * `item`: the id of the item, when one item was at fault;
    * `cause`: the `Slither.DispatchError`, exception or term behind it.
  """

  defexception [:pipe, :stage, :reason, :message, :item, :cause]

  @doc false
  # Those that a handler's failure may have.
  @spec reasons() :: [atom]
  def reasons, do: [:expression, :handler_raised, :handler_error, :invalid_return]

  @type t :: %__MODULE__{
          pipe: atom | String.t() | nil,
          stage: atom | String.t() | nil,
          reason: atom,
          message: String.t() | nil,
          item: term,
          cause: term
        }

  @impl true
  @spec message(t) :: String.t()
  def message(%__MODULE__{} = error) do
    stage = if error.stage, do: ", stage #{inspect(error.stage)}", else: ""
    item = if error.item, do: ", item #{inspect(error.item)}", else: ""
    text = error.message || text(error.cause)
    "pipe #{inspect(error.pipe)}#{stage}#{item}: #{text}"
  end

  # The stage is named once: the dispatch error's own stage is left out.
  defp text(%Slither.DispatchError{} = cause),
    do: Exception.message(%{cause | stage: nil, item: nil})

  defp text(cause), do: Slither.Error.told(cause)
end
