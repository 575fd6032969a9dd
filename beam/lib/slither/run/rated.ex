defmodule Slither.Run.Rated do
  @moduledoc false
  # The tokens of one run: those that it has and that its next batch may use, and those that it has
  # asked a bucket for. A value of the process that drives the run, held by `Slither.Run.InFlight` and
  # `Slither.Gather.Batches`.
  #
  # A run asks for the tokens of its next batch alone. So no more than that goes out late, in a burst,
  # if its workers are busy when the tokens come.

  alias Slither.{Error, Item, Rate}
  alias Slither.Protocol.Block
  alias Slither.Python.Inbox
  alias Slither.Rate.{Server, Spec}
  alias Slither.Run.{Batch, Mailbox}

  # A bucket that has ended may be started again: looks for it, and the ms between two.
  @looks 20
  @between 100

  @enforce_keys [:spec, :inbox]
  defstruct [:spec, :inbox, :server, :monitor, :asked, :timer, :error] ++
              [held: 0, waited: 0, looks: 0]

  @typedoc """
  `held` tokens are there. `asked` is what it waits for, since when, in native time; it has `waited` so
  long before. `timer` is set while it looks for a bucket that has ended, and `error` says that there is
  none.
  """
  @type t :: %__MODULE__{
          spec: Spec.t(),
          inbox: Inbox.t(),
          server: pid | nil,
          monitor: reference | nil,
          asked: {reference, weight :: number, since :: integer} | nil,
          timer: reference | nil,
          error: Error.t() | nil,
          held: number,
          waited: integer,
          looks: non_neg_integer
        }

  @doc "The rate of checked options, with the figures of the bucket that it names; nil for none."
  @spec find(term) :: {:ok, Spec.t() | nil} | {:error, Error.t()}
  def find(option) do
    with {:ok, %Spec{name: name} = spec} when name != nil <- Spec.new(option) do
      case Server.find(name) do
        {:ok, _pid, figures} -> {:ok, Map.merge(spec, figures)}
        :error -> {:error, Rate.unknown(name)}
      end
    end
  end

  @doc "What a run has, of its rate: nothing yet."
  @spec open(Spec.t() | nil, Inbox.t()) :: t | nil
  def open(nil, _inbox), do: nil
  def open(spec, inbox), do: %__MODULE__{spec: spec, inbox: inbox}

  ## Weights

  @doc "Groups of batches of which none is heavier than the bucket, but for single items."
  @spec cut(Spec.t() | nil, [batch]) :: [[batch]]
        when batch: [Batch.entry()] | {:failed, [Batch.entry()], Error.t()}
  def cut(nil, group), do: [group]

  # Of a group of one batch, whose items are in order, the pieces need not wait for each other.
  def cut(spec, [[_ | _] = batch] = group) do
    case pieces(spec, batch) do
      [_one] -> [group]
      pieces -> if in_order?(batch), do: Enum.map(pieces, &[&1]), else: [pieces]
    end
  end

  def cut(spec, group) do
    [
      Enum.flat_map(group, fn
        {:failed, _entries, _error} = failed -> [failed]
        batch -> pieces(spec, batch)
      end)
    ]
  end

  defp in_order?(entries) do
    seqs = for {seq, _item} <- entries, do: seq
    seqs == Enum.sort(seqs)
  end

  defp pieces(%Spec{burst: burst} = spec, entries) do
    {pieces, last, _weight} =
      Enum.reduce(entries, {[], [], 0}, fn entry, {pieces, piece, weight} ->
        case weigh(spec, entry) do
          {:error, error} ->
            {[{:failed, [entry], error} | closed(pieces, piece)], [], 0}

          {:ok, more} when piece == [] or weight + more <= burst ->
            {pieces, [entry | piece], weight + more}

          {:ok, more} ->
            {closed(pieces, piece), [entry], more}
        end
      end)

    Enum.reverse(closed(pieces, last))
  end

  defp closed(pieces, []), do: pieces
  defp closed(pieces, piece), do: [Enum.reverse(piece) | pieces]

  defp weigh(spec, {_seq, %Item{payload: %Block{count: count}} = item}) do
    with {:ok, weight} <- Spec.weigh(spec, item), do: {:ok, count * weight}
  end

  defp weigh(spec, {_seq, item}), do: Spec.weigh(spec, item)

  @doc "The tokens that entries take; an item whose function fails now takes one."
  @spec weight(Spec.t(), [Batch.entry()]) :: number
  def weight(spec, entries) do
    for entry <- entries, reduce: 0 do
      weight ->
        case weigh(spec, entry) do
          {:ok, more} -> weight + more
          {:error, _error} -> weight + 1
        end
    end
  end

  ## Tokens

  @doc "Whether it has the tokens of entries; else it has asked for them, or can't."
  @spec ready(t | nil, [Batch.entry()]) :: {:ok, t | nil} | {:wait, t} | {:gone, Error.t(), t}
  def ready(nil, _entries), do: {:ok, nil}

  def ready(%__MODULE__{error: %Error{} = error} = rated, _entries),
    do: {:gone, error, %{rated | error: nil, looks: 0}}

  # What it waits for may have been asked for another batch: then it will do, or be too little.
  def ready(%__MODULE__{asked: asked, timer: timer} = rated, _entries)
      when asked != nil or timer != nil,
      do: {:wait, rated}

  def ready(%__MODULE__{held: held} = rated, entries) do
    weight = weight(rated.spec, entries)
    if held >= weight, do: {:ok, rated}, else: {:wait, ask(rated, weight - held, now())}
  end

  defp ask(rated, weight, since) do
    case connected(rated) do
      {:ok, rated} ->
        ref = make_ref()
        Server.ask(rated.server, rated.inbox, ref, weight)
        %{rated | asked: {ref, weight, since}}

      :error ->
        look_again(%{rated | asked: nil, waited: rated.waited + now() - since})
    end
  end

  defp connected(%__MODULE__{server: nil, spec: spec} = rated) do
    with {:ok, server} <- server(spec) do
      monitor = Mailbox.monitor(rated.inbox, server)
      {:ok, %{rated | server: server, monitor: monitor, looks: 0}}
    end
  end

  defp connected(rated), do: {:ok, rated}

  defp server(%Spec{name: nil} = spec),
    do: {:ok, Server.own(Map.take(spec, ~w(items per burst)a))}

  defp server(%Spec{name: name}) do
    with {:ok, server, _figures} <- Server.find(name), do: {:ok, server}
  end

  defp look_again(%__MODULE__{looks: looks} = rated) when looks >= @looks,
    do: %{rated | error: Rate.unknown(rated.spec.name), timer: nil}

  defp look_again(rated) do
    timer = Mailbox.start_timer(rated.inbox, @between)
    %{rated | timer: timer, looks: rated.looks + 1}
  end

  @doc "Entries go: their tokens are used. Tokens beyond those go back."
  @spec spend(t | nil, [Batch.entry()]) :: t | nil
  def spend(nil, _entries), do: nil

  def spend(rated, entries) do
    left = rated.held - weight(rated.spec, entries)
    if left > 0 and rated.server != nil, do: Server.give_back(rated.server, left)
    %{rated | held: 0}
  end

  @doc "Entries were sent and never begun: their tokens are there again."
  @spec unspent(t | nil, [Batch.entry()]) :: t | nil
  def unspent(nil, _entries), do: nil
  def unspent(rated, entries), do: %{rated | held: rated.held + weight(rated.spec, entries)}

  @doc "The other side says when to come again, in ms: nobody gets tokens before."
  @spec pause(t, non_neg_integer) :: t
  def pause(rated, time) do
    case connected(rated) do
      {:ok, rated} ->
        Server.pause(rated.server, time)
        rated

      :error ->
        rated
    end
  end

  @doc "Takes a message of the run's inbox, if it is one of its own."
  @spec message(t | nil, Mailbox.message()) :: {:ok, t} | :unknown
  def message(nil, _message), do: :unknown

  def message(%__MODULE__{asked: {ref, _weight, since}} = rated, {:tokens, ref, weight}) do
    waited = rated.waited + now() - since
    {:ok, %{rated | held: rated.held + weight, asked: nil, waited: waited}}
  end

  # Of a request that was taken back: the bucket has these again.
  def message(rated, {:tokens, _ref, _weight}), do: {:ok, rated}

  def message(%__MODULE__{monitor: monitor} = rated, {:down, monitor, _reason})
      when monitor != nil do
    rated = %{rated | server: nil, monitor: nil}

    case rated.asked do
      nil -> {:ok, rated}
      {_ref, weight, since} -> {:ok, ask(%{rated | asked: nil}, weight, since)}
    end
  end

  def message(%__MODULE__{timer: timer} = rated, {:timer, timer}) when timer != nil do
    rated = %{rated | timer: nil}

    case connected(rated) do
      {:ok, rated} -> {:ok, rated}
      :error -> {:ok, look_again(rated)}
    end
  end

  def message(_rated, _message), do: :unknown

  @doc "For how long it has waited for tokens in all, in native time; 0 without a rate."
  @spec waited(t | nil) :: integer
  def waited(nil), do: 0
  def waited(%__MODULE__{asked: nil, waited: waited}), do: waited
  def waited(%__MODULE__{asked: {_, _, since}, waited: waited}), do: waited + now() - since

  @doc "Since when it waits for tokens, in native time; nil where it does not."
  @spec waits(t | nil) :: integer | nil
  def waits(%__MODULE__{asked: {_ref, _weight, since}}), do: since
  def waits(_rated), do: nil

  ## Ending

  @doc "So many of the batches that wait can go next: one has its tokens."
  @spec most(t | nil, non_neg_integer) :: non_neg_integer
  def most(nil, waiting), do: waiting
  def most(_rated, waiting), do: min(waiting, 1)

  @doc "Where no batch waits, it gives back what it has, and takes back what it asked for."
  @spec rest(t | nil, waiting :: non_neg_integer) :: t | nil
  def rest(rated, 0), do: rest(rated)
  def rest(rated, _waiting), do: rated

  defp rest(nil), do: nil
  defp rest(%__MODULE__{asked: nil, held: held} = rated) when held == 0, do: rated
  defp rest(%__MODULE__{server: nil} = rated), do: %{rated | held: 0}

  defp rest(%__MODULE__{asked: asked} = rated) do
    if rated.held > 0, do: Server.give_back(rated.server, rated.held)

    case asked do
      nil ->
        %{rated | held: 0}

      {ref, weight, since} ->
        Server.cancel(rated.server, ref, weight)
        %{rated | held: 0, asked: nil, waited: rated.waited + now() - since}
    end
  end

  @doc "The run is over."
  @spec close(t | nil) :: :ok
  def close(nil), do: :ok

  def close(rated) do
    rated = rest(rated)
    if rated.timer, do: :erlang.cancel_timer(rated.timer)
    if rated.monitor, do: Process.demonitor(rated.monitor, [:flush])
    if rated.server && rated.spec.name == nil, do: Server.stop(rated.server)
    :ok
  end

  defp now, do: System.monotonic_time()
end
