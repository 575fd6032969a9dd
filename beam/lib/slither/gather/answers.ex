defmodule Slither.Gather.Answers do
  @moduledoc false
  # What an answered batch says to each of its items, by the rules of every run (`Run.Verdict`). Pure;
  # called by `Slither.Gather.Batches`.

  alias Slither.Error
  alias Slither.Pool.Errors
  alias Slither.Python.Outcome
  alias Slither.Run.{Batch, Plan, Verdict}

  @type answer :: {:ok, term} | {:error, Exception.t()}
  @type answers :: [{seq :: non_neg_integer, answer}]

  @doc """
  Of a batch and its outcome: its items' answers, with how many of them failed; the batch as it is to
  go once more; or why it failed as a whole.
  """
  @spec of(Plan.t(), Batch.t(), Outcome.t()) ::
          {:answers, answers, failed :: non_neg_integer}
          | {:again, Batch.t()}
          | {:failed, Exception.t()}
  def of(plan, batch, %Outcome{kind: :ok, values: values, errors: errors}) do
    if length(values) == length(batch.entries),
      do: {:answers, decided(plan, batch, values, errors), map_size(errors)},
      else: {:failed, Verdict.wrong_length(batch, values)}
  end

  def of(_plan, batch, %Outcome{kind: :requeue, error: error}) do
    case Errors.given_back(error, batch.given_back) do
      {:again, times} -> {:again, %{batch | given_back: times}}
      {:failed, error} -> {:failed, error}
    end
  end

  def of(_plan, _batch, %Outcome{error: error}), do: {:failed, error}

  @doc "Of the items of a batch whose values, and errors by index, are there."
  @spec decided(Plan.t(), Batch.t(), [term], Outcome.errors()) :: answers
  def decided(_plan, batch, values, errors) when errors == %{},
    do: Enum.zip_with(batch.entries, values, fn {seq, _item}, value -> {seq, {:ok, value}} end)

  def decided(plan, batch, values, errors),
    do: plan |> Verdict.answered(batch, values, errors) |> Enum.flat_map(&read/1)

  @doc "Of a batch that failed as a whole: the batches that are to go in its place, or its answers."
  @spec failed(Plan.t(), Batch.t(), Exception.t()) :: {:again, [Batch.t()]} | {:answers, answers}
  def failed(plan, batch, error) do
    case Verdict.failed(plan, batch, error) do
      {:split, parts} -> {:again, parts}
      verdicts -> {:answers, Enum.flat_map(verdicts, &read/1)}
    end
  end

  defp read({:settled, {:ok, entries}}),
    do: for({seq, item} <- entries, do: {seq, {:ok, item.payload}})

  # A caller made a single call, and knows of no batch: it gets the cause alone.
  defp read({:settled, {:mixed, outcomes}}),
    do: for({seq, _skipped, item} <- outcomes, do: {seq, {:error, cause(item.meta.error)}})

  defp cause(%{cause: %Error{} = error}), do: error
  defp cause(error), do: error
end
