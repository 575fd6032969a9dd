defmodule Slither.Run.Limited do
  @moduledoc false
  # Single calls that take tokens of a rate, in the process that makes them. They share a bucket that
  # has a name: one of a single call would limit nothing.

  alias Slither.{Error, Rate}
  alias Slither.Rate.{Server, Spec}
  alias Slither.Run.{Rated, Refusal}

  # Reasons of calls that were never sent: they have used no tokens.
  @unsent [:saturated, :queue_timeout, :unknown_pool, :pool_unavailable, :session_lost] ++
            [:not_encodable, :too_large]

  @doc """
  Has `fun` make a call for the item once there are tokens for it, and again where the other side says
  when to come again. It gets the native time that the call has waited for tokens.
  """
  @spec call(term, item :: term, (non_neg_integer -> {:error, Error.t()} | answer)) ::
          {:error, Error.t()} | answer
        when answer: term
  def call(nil, _item, fun), do: fun.(0)

  def call(option, item, fun) do
    with {:ok, spec} <- Rated.find(option),
         {:ok, weight} <- Spec.weigh(spec, item),
         do: limited(spec, weight, fun, {0, 0})
  end

  defp limited(spec, weight, fun, {refused, before}) do
    asked = System.monotonic_time()

    with {:ok, server} <- take(spec, weight) do
      waited = before + System.monotonic_time() - asked

      case fun.(waited) do
        {:error, %Error{} = error} = answer ->
          if error.reason in @unsent, do: Server.give_back(server, weight)
          time = Refusal.time(error)
          if time, do: Server.pause(server, time)

          if Refusal.again(spec, refused, error) == :no,
            do: answer,
            else: limited(spec, weight, fun, {refused + 1, waited})

        answer ->
          answer
      end
    end
  end

  defp take(%Spec{name: name}, weight) do
    with {:ok, server, _figures} <- Server.find(name),
         :ok <- Server.take(server, weight) do
      {:ok, server}
    else
      _none_or_ended -> {:error, Rate.unknown(name)}
    end
  end
end
