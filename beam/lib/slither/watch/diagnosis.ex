defmodule Slither.Watch.Diagnosis do
  @moduledoc false
  # The verdict of a snapshot with its evidence, as `diagnose` prints it. Pure; called by the VM that is
  # looked at, and by `mix slither.diagnose`.

  alias Slither.Watch.Screen

  @doc "What of a snapshot machines are told."
  @spec of(map) :: map
  def of(snapshot) do
    snapshot
    |> Map.take([:name, :os_pid, :at, :uptime, :totals])
    |> Map.merge(snapshot.verdict)
    |> Map.put(:told, lines(snapshot.verdict))
  end

  @doc """
  The same for a person.

      iex> Slither.Watch.Diagnosis.lines(%{
      ...>   text: "Waiting: pool gpu is full: 8 calls wait",
      ...>   evidence: [%{text: "pool gpu is full: 8 calls wait"}, %{text: "pool cpu is full: 3 calls wait"}]
      ...> })
      ["Waiting: pool gpu is full: 8 calls wait", "  and pool cpu is full: 3 calls wait"]
  """
  @spec lines(map) :: [String.t()]
  def lines(%{text: text, evidence: [_first | others]}),
    do: Enum.map([text | Enum.map(others, &"  and #{&1.text}")], &Screen.clean/1)
end
