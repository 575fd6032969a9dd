defmodule Slither.Run.Refusal do
  @moduledoc false
  # Failures that say when to come again: what an API answers that has had too many requests. Pure;
  # called by `Slither.Run.Verdict`, and by whoever makes single calls.
  #
  # Python tells it in the field `retry_after` of an error map, in ms. On BEAM a handler or an executor
  # gives an error whose details have `retry_after`.

  alias Slither.{DispatchError, Error, PipeError}
  alias Slither.Rate.Spec
  alias Slither.Run.Batch

  @doc """
  In how many ms to come again, nil where a failure does not say.

      iex> Slither.Run.Refusal.time(%Slither.Error{reason: :handler_failure, details: %{"retry_after" => 1_500}})
      1500
      iex> Slither.Run.Refusal.time(%Slither.Error{reason: :timeout})
      nil
  """
  @spec time(Exception.t() | term) :: non_neg_integer | nil
  def time(%Error{details: %{"retry_after" => time}}) when is_number(time), do: whole(time)
  def time(%Error{details: %{retry_after: time}}) when is_number(time), do: whole(time)
  def time(%DispatchError{cause: cause}), do: time(cause)
  def time(%PipeError{cause: cause}), do: time(cause)
  def time(_other), do: nil

  defp whole(time), do: time |> max(0) |> min(86_400_000) |> ceil()

  @doc """
  Whether what was refused so often goes again, in how many ms; `:no` where it is a failure as any
  other.
  """
  @spec again(Spec.t() | nil, non_neg_integer, Exception.t()) :: {:ok, non_neg_integer} | :no
  def again(%Spec{refusals: most}, refused, error) when refused < most do
    case time(error) do
      nil -> :no
      time -> {:ok, time}
    end
  end

  def again(_rate, _refused, _error), do: :no

  @doc """
  Of failures of a batch's items: those that were refused, as the batch that goes again in so many ms;
  and the others.
  """
  @spec apart(Spec.t() | nil, Batch.t(), [{Batch.entry(), Exception.t()}]) ::
          {{Batch.t(), non_neg_integer} | nil, [{Batch.entry(), Exception.t()}]}
  def apart(nil, _batch, failures), do: {nil, failures}

  def apart(rate, batch, failures) do
    marked = for {_entry, error} = one <- failures, do: {one, again(rate, batch.refused, error)}

    case Enum.split_with(marked, &match?({_failure, {:ok, _time}}, &1)) do
      {[], _all} ->
        {nil, failures}

      {refused, others} ->
        entries = for {{entry, _error}, _again} <- refused, do: entry
        time = refused |> Enum.map(fn {_failure, {:ok, time}} -> time end) |> Enum.max()
        batch = %{Batch.anew(batch, entries) | refused: batch.refused + 1}
        {{batch, time}, for({failure, :no} <- others, do: failure)}
    end
  end
end
