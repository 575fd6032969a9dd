defmodule Slither.Run.Many do
  @moduledoc false
  # Batches whose items have many values each: what their answers make of them. Pure; called by
  # `Slither.Run.Flow`, in the process that drives it.
  #
  # A worker draws the values of one item after those of another, and gives them chunk by chunk; a
  # function on BEAM gives those of all items at once. The values get the seqs and ids that the
  # items of a handler on BEAM get, which answers `{:many, values}`: see `Slither.Run.Answer`.

  alias Slither.{Error, Item}
  alias Slither.Python.{Outcome, Part}
  alias Slither.Run.{Batch, Fill, Plan, Verdict}

  @typedoc "The verdicts on a batch, how many items were decided and failed, and what is left of it."
  @type answer ::
          {:ok, [Verdict.t()], failed :: non_neg_integer, Batch.t()} | {:error, Error.t()}

  @doc "What an answer, or a part of one, makes of a batch."
  @spec answered(Plan.t(), Batch.t(), Outcome.t() | Part.t()) :: answer
  def answered(%Plan{mode: {:local, _fun}} = plan, batch, %{values: values, errors: errors}) do
    if length(values) == length(batch.entries),
      do: drawn(plan, batch, local(values, errors)),
      else: {:error, Verdict.wrong_length(batch, values)}
  end

  def answered(plan, batch, %{values: entries, errors: unsent}) do
    {sent, failures} = sent(batch, unsent)

    with {:ok, verdicts, failed, left} <- drawn(plan, sent, entries) do
      unsent = Verdict.items(plan, batch, failures)
      {:ok, verdicts ++ unsent, failed + length(failures), left}
    end
  end

  # An item that could not be sent is none that the worker knows of.
  defp sent(batch, unsent) when unsent == %{}, do: {batch, []}

  defp sent(batch, unsent) do
    {failed, sent} =
      batch.entries |> Enum.with_index() |> Enum.split_with(&is_map_key(unsent, elem(&1, 1)))

    {%{batch | entries: Enum.map(sent, &elem(&1, 0))},
     for({entry, index} <- failed, do: {entry, unsent[index]})}
  end

  defp local(values, errors) do
    for {value, index} <- Enum.with_index(values) do
      case errors do
        %{^index => error} -> {index, true, [], error}
        _fine when is_list(value) -> {index, true, value, nil}
        _wrong -> {index, true, [], wrong(value)}
      end
    end
  end

  defp wrong(value) do
    %Error{
      reason: :wrong_result,
      message: "an item with cardinality: :many takes a list, got #{inspect(value, limit: 5)}",
      hint: "give a list for each item: [] for none, [value] for one"
    }
  end

  ## Chunks

  defp drawn(plan, batch, entries) do
    case Enum.reduce_while(entries, {batch, [], []}, &entry/2) do
      {:error, error} ->
        {:error, error}

      {left, made, failures} ->
        failed = for {began?, failure} <- Enum.reverse(failures), do: fault(plan, began?, failure)

        {:ok, settled(Enum.reverse(made)) ++ again(Enum.concat(failed)), length(failures), left}
    end
    |> counted(batch)
  end

  defp settled([]), do: []
  defp settled(outcomes), do: [{:settled, {:mixed, outcomes}}]

  # What has given values is not tried again: they are out.
  defp fault(plan, {batch, true}, failure), do: Verdict.final(plan, batch, [failure])
  defp fault(plan, {batch, false}, failure), do: Verdict.items(plan, batch, [failure])

  # Items that are tried again go out as one batch, after the longest of their pauses.
  defp again(verdicts) do
    case Enum.split_with(verdicts, &match?({:retry, _batch, _pause}, &1)) do
      {[{:retry, batch, _} | _] = retries, others} ->
        entries = Enum.flat_map(retries, fn {:retry, batch, _pause} -> batch.entries end)
        pause = retries |> Enum.map(&elem(&1, 2)) |> Enum.max()
        others ++ [{:retry, %{batch | entries: entries}, pause}]

      {[], others} ->
        others
    end
  end

  defp counted({:ok, verdicts, failed, left}, batch) do
    early = batch.early + length(batch.entries) - length(left.entries)
    {:ok, verdicts, failed, %{left | early: early, early_failed: left.early_failed + failed}}
  end

  defp counted(error, _batch), do: error

  defp entry(
         {index, ended?, values, error},
         {%Batch{at: index, entries: [_ | _]} = batch, made, bad}
       ) do
    {batch, made} = values(batch, values, made)
    if ended?, do: {:cont, ended(batch, error, made, bad)}, else: {:cont, {batch, made, bad}}
  end

  defp entry({index, _ended?, _values, _error}, {batch, _made, _failures}) do
    message = "values of item #{index} came, where item #{batch.at} is next"
    {:halt, {:error, %Error{reason: :protocol_error, message: message}}}
  end

  defp values(batch, [], made), do: {batch, made}

  defp values(%Batch{entries: [{_seq, item} = head | rest], drawn: drawn} = batch, values, made) do
    base = base(head, drawn)

    {made, drawn} =
      Enum.reduce(values, {made, drawn}, fn value, {made, drawn} ->
        {[{base ++ [drawn], :made, child(item, value, drawn, batch.attempt)} | made], drawn + 1}
      end)

    {%{batch | entries: [{base ++ [drawn], item} | rest], drawn: drawn}, made}
  end

  defp base({seq, _item}, 0), do: seq
  defp base({seq, _item}, _drawn), do: Enum.drop(seq, -1)

  # An executor of the user's own may give items.
  defp child(item, %Item{} = child, index, attempt),
    do: Fill.tried(%{child | id: {item.id, index}}, attempt)

  defp child(item, value, index, attempt),
    do: Fill.tried(%{item | id: {item.id, index}, payload: value}, attempt)

  defp ended(%Batch{entries: [{seq, item} = head | rest], drawn: drawn} = batch, error, made, bad) do
    next = %{batch | entries: rest, at: batch.at + 1, drawn: 0}

    cond do
      error != nil -> {next, made, [{{batch, drawn > 0}, {head, error}} | bad]}
      drawn == 0 -> {next, [{seq, :none, item} | made], bad}
      true -> {next, [{seq, :ended, item} | made], bad}
    end
  end

  ## Failures

  @doc "Whether something of a batch is out already, so that it can't be run as if it never had been."
  @spec begun?(Batch.t()) :: boolean
  def begun?(batch), do: batch.cursor != nil or batch.at > 0 or batch.drawn > 0

  @doc "The verdicts where all that is left of a batch that had begun has failed."
  @spec failed(Plan.t(), Batch.t(), Exception.t()) :: [Verdict.t()]
  def failed(plan, %Batch{drawn: 0} = batch, error),
    do: Verdict.items(plan, batch, Enum.map(batch.entries, &{&1, error}))

  def failed(plan, %Batch{entries: [head | rest]} = batch, error) do
    Verdict.final(plan, batch, [{head, error}]) ++
      Verdict.items(plan, batch, Enum.map(rest, &{&1, error}))
  end

  @doc """
  The verdicts where the worker of a batch that had begun has ended: the item whose values it drew
  has failed, and the entries after it had not begun.
  """
  @spec cut(Plan.t(), Batch.t(), Exception.t()) :: {[Verdict.t()], [Batch.entry()]}
  def cut(plan, %Batch{entries: [head | rest], drawn: drawn} = batch, error),
    do: {fault(plan, {batch, drawn > 0}, {head, error}), rest}

  @doc "The lane's entries are read by the worker's numbering."
  @spec cursor(Batch.t(), Outcome.t()) :: Batch.t()
  def cursor(%Batch{cursor: nil} = batch, %Outcome{call: call}), do: %{batch | cursor: call}
  def cursor(batch, _outcome), do: batch
end
