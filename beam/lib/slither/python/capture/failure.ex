defmodule Slither.Python.Capture.Failure do
  @moduledoc false
  # Which outcomes of a call are failures to write down, and what of them. Lanes call it.

  alias Slither.Error
  alias Slither.Protocol.Block
  alias Slither.Python.{Capture, Outcome}

  @doc """
  The outcome of a call, with the file it was written to where it is a failure.

  Items that a handler failed on purpose are none, nor are those that could not be sent to it.
  """
  @spec write(
          Capture.t(),
          Outcome.t(),
          iodata,
          {[Capture.exchange()], boolean},
          map
        ) :: Outcome.t()
  def write(_capture, %Outcome{error: %Error{reason: reason}} = outcome, _, _, _)
      when reason in [:cancelled, :worker_stopped],
      do: outcome

  def write(capture, %Outcome{kind: kind, error: error} = outcome, frame, tape, facts)
      when kind in [:error, :died] do
    told = %{"error" => Capture.fact(error)}
    %{outcome | error: pointed(error, put(capture, told, frame, tape, facts))}
  end

  def write(capture, %Outcome{values: [%Block{} = block]} = outcome, frame, tape, facts) do
    faults =
      for {at, %{"kind" => kind} = fault} <- block.errors || %{},
          kind != "failure",
          into: %{},
          do: {at, fault}

    if faults != %{}, do: put(capture, %{"errors" => faults}, frame, tape, facts)
    outcome
  end

  def write(capture, %Outcome{kind: :ok, errors: errors} = outcome, frame, tape, facts)
      when errors != %{} do
    failed = for {at, error} <- errors, failed?(error), into: %{}, do: {at, Capture.fact(error)}
    path = if failed != %{}, do: put(capture, %{"errors" => failed}, frame, tape, facts)

    errors =
      Map.new(errors, fn {at, error} ->
        {at, if(is_map_key(failed, at), do: pointed(error, path), else: error)}
      end)

    %{outcome | errors: errors}
  end

  def write(_capture, outcome, _frame, _tape, _facts), do: outcome

  # `details` has the kind that Python gave the error.
  defp failed?(%Error{details: %{"kind" => kind}}), do: kind != "failure"
  defp failed?(_error), do: false

  defp put(capture, told, frame, {exchanges, cut?}, facts) do
    time = DateTime.to_iso8601(DateTime.utc_now())
    facts = facts |> Map.merge(told) |> Map.merge(%{"time" => time, "cut" => cut?})
    Capture.write(capture, facts, frame, exchanges)
  end

  defp pointed(error, nil), do: error
  defp pointed(error, path), do: Capture.point(error, path)
end
