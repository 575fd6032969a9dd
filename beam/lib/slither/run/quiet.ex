defmodule Slither.Run.Quiet do
  @moduledoc false
  # When an item last joined the partial batch of each stage, in ms.
  # Pure; held by the drivers of runs that others feed, which send a
  # batch off rather than let it wait for items that do not come.

  @enforce_keys [:after]
  defstruct [:after, seen: %{}]

  @type t :: %__MODULE__{after: pos_integer | :infinity, seen: map}

  @doc "Takes in the stages with partial batches, each with how many items it has ever had."
  @spec observe(t, [{index :: non_neg_integer, fed :: pos_integer}], integer) :: t
  def observe(%__MODULE__{after: :infinity} = quiet, _partial, _now), do: quiet

  def observe(quiet, partial, now) do
    seen =
      Map.new(partial, fn {index, fed} ->
        case quiet.seen do
          %{^index => {^fed, since}} -> {index, {fed, since}}
          _ -> {index, {fed, now}}
        end
      end)

    %{quiet | seen: seen}
  end

  @doc "The stages that have been quiet for long enough."
  @spec due(t, integer) :: [non_neg_integer]
  def due(quiet, now) do
    for {index, {_fed, since}} <- quiet.seen, since + quiet.after <= now, do: index
  end

  @doc "When the next one will be, if nothing joins it."
  @spec next(t) :: integer | nil
  def next(%__MODULE__{seen: seen}) when seen == %{}, do: nil

  def next(quiet),
    do: (quiet.seen |> Enum.map(fn {_, {_, at}} -> at end) |> Enum.min()) + quiet.after
end
