defmodule Slither.Run.Account do
  @moduledoc false
  # The account of a run, or of one stage of it, which becomes a `Slither.Receipt`:
  # in + expanded = out + skipped + routed + failed, where whatever reached no end has failed.
  # Pure; held by the drivers of runs, and by each node.

  alias Slither.Receipt

  defstruct in: 0, expanded: 0, out: 0, skipped: 0, routed: 0, errors: %{}

  @type t :: %__MODULE__{
          in: non_neg_integer,
          expanded: integer,
          out: non_neg_integer,
          skipped: non_neg_integer,
          routed: non_neg_integer,
          errors: Receipt.errors()
        }

  @doc "Adds to one of the counts."
  @spec add(t, :in | :expanded | :out | :skipped | :routed, integer) :: t
  def add(account, key, count), do: Map.update!(account, key, &(&1 + count))

  @doc "Adds what a result says, and how many of its entries are out: what is not dropped or routed."
  @spec settle(t, Slither.Run.Result.t(), non_neg_integer) :: t
  def settle(account, result, out) do
    %{
      account
      | expanded: account.expanded + result.expanded,
        out: account.out + out,
        skipped: account.skipped + result.skipped,
        routed: account.routed + result.routed,
        errors: Enum.reduce(result.errors, account.errors, &Receipt.add_error(&2, &1))
    }
  end

  @doc "An error met an error policy."
  @spec note(t, term) :: t
  def note(account, error), do: %{account | errors: Receipt.add_error(account.errors, error)}

  @doc "The five counts."
  @spec counts(t) :: map
  def counts(account), do: account |> Map.from_struct() |> Map.delete(:errors)

  @doc "The receipt, with the work that batches added and the error that stopped the run."
  @spec receipt(t, map, integer, Exception.t() | nil) :: Receipt.t()
  def receipt(account, work, duration, error) do
    account
    |> counts()
    |> Receipt.new(work, duration)
    |> Receipt.put_errors(account.errors, error)
  end
end
