defmodule Slither.Run.Node do
  @moduledoc false
  # One stage of a run. What the engine asks of every stage is here: who passes it by, its account,
  # its events. What a stage does with its entries is one of three modules that have this
  # behaviour: `Node.Inline` runs a handler at once, `Node.Batches` sends batches elsewhere and
  # gets their results back in messages, `Node.Regroup` waits until it can make one of many.
  #
  # Held by `Slither.Run.Engine`, and run in the process that drives it.

  alias Slither.{DispatchError, PipeError, Receipt}
  alias Slither.Metrics.Runs
  alias Slither.Run.{Account, Bypass, Mailbox, Result}
  alias Slither.Telemetry.Events

  # Entries that may wait beside a batch that is not full, as they must not overtake it; with more,
  # the batch is sent as it is.
  @most_beside 1_000

  @enforce_keys [:index, :facts, :module, :state]
  defstruct [:index, :facts, :module, :state, :started, :place, :seen] ++
              [bypass: %Bypass{}, account: %Account{}, decided: 0]

  @type state :: struct
  @typedoc """
  `facts` are the metadata of its events: the run, the pipe, the stage and its type. What becomes of
  its entries is counted in its `place`, and those inside are `seen`, where its run is, on the board;
  `decided` says of how many it is known.
  """
  @type t :: %__MODULE__{
          index: non_neg_integer,
          facts: %{run: String.t(), pipe: term, stage: term, type: atom},
          module: module,
          state: state,
          started: integer | nil,
          place: Slither.Metrics.Series.place(),
          seen: Runs.place(),
          bypass: Bypass.t(),
          account: Account.t(),
          decided: non_neg_integer
        }
  @type entry :: {Result.seq(), Slither.Item.t()}

  @doc "Whether entries never stay in it."
  @callback instant?(state) :: boolean
  @doc "Takes entries; what has become of some may be known at once."
  @callback push(state, [entry, ...]) :: {Result.t() | nil, state}
  @doc "What has come back since, in order."
  @callback take(state) :: {[Result.t()], state}
  @doc "Sends on what it can; with `flush?` also what is not complete."
  @callback advance(state, flush? :: boolean) :: {Result.t() | nil, state}
  @doc "Takes in a message of its inbox."
  @callback message(state, Mailbox.message()) :: {Result.t() | nil, state}
  @doc "Whether a message says that a pool has ended."
  @callback pool_down?(state, Mailbox.message()) :: boolean
  @doc "How many more entries it can use, `:any` for one that has no limit."
  @callback want(state) :: non_neg_integer | :any
  @doc "Whether entries wait in it that it could not send on."
  @callback full?(state) :: boolean
  @doc "How many entries wait in batches that are not full."
  @callback batching(state) :: non_neg_integer
  @doc "Whether it could send a batch that is not full to a worker that has nothing to do."
  @callback partial?(state) :: boolean
  @doc "How many entries wait where, by the names that `Slither.Pipe.status/1` gives."
  @callback waiting(state) :: %{optional(atom) => non_neg_integer}
  @doc "What its batches add to an account; see `Slither.Receipt`."
  @callback work(state) :: map
  @doc "Gives back what it does not need while nothing comes."
  @callback rest(state) :: state
  @doc "Asks for more of what workers keep for it; the driver is about to wait."
  @callback draw(state) :: state
  @doc "Gives back all that it holds of others."
  @callback free(state) :: any
  @doc "The run has ended, after `c:free/1`."
  @callback shutdown(state) :: any

  defmacro __using__(_options) do
    quote do
      @behaviour Slither.Run.Node
      @impl true
      def instant?(_node), do: false
      @impl true
      def take(node), do: {[], node}
      @impl true
      def advance(node, _flush?), do: {nil, node}
      @impl true
      def message(node, _message), do: {nil, node}
      @impl true
      def pool_down?(_node, _message), do: false
      @impl true
      def want(_node), do: :any
      @impl true
      def full?(_node), do: false
      @impl true
      def batching(_node), do: 0
      @impl true
      def partial?(_node), do: false
      @impl true
      def waiting(_node), do: %{}
      @impl true
      def work(_node), do: Slither.Run.Account.no_work()
      @impl true
      def rest(node), do: node
      @impl true
      def draw(node), do: node
      @impl true
      def free(_node), do: :ok
      @impl true
      def shutdown(_node), do: :ok
      defoverridable Slither.Run.Node
    end
  end

  @doc "A node of a module's state; it gives entries on in their order unless `ordered?` is false."
  @spec new(non_neg_integer, map, state, boolean) :: t
  def new(index, facts, %module{} = state, ordered? \\ true) do
    bypass = Bypass.new(ordered?)
    place = Events.place(facts)

    %__MODULE__{
      index: index,
      facts: facts,
      module: module,
      state: state,
      place: place,
      bypass: bypass
    }
  end

  ## Entries

  @doc """
  Takes entries in, of which some may pass it by if `passing?`; gives those that go on, and what
  was decided.
  """
  @spec push(t, [Result.entry()], boolean) :: {[Result.entry()], Result.t(), t}
  def push(node, entries, false) do
    count = length(entries)
    handle(%{node | bypass: Bypass.enter(node.bypass, count)}, entries, count)
  end

  def push(node, entries, true) do
    {here, bypass} = Bypass.part(node.bypass, entries, node.index)
    handle(%{node | bypass: bypass}, here, length(here))
  end

  defp handle(node, [], 0), do: settle(node, %Result{})

  defp handle(node, entries, count) do
    node = begun(node)
    {result, node} = ask(node, :push, [entries])
    Runs.entered(node.seen, count)
    settle(%{node | account: Account.add(node.account, :in, count)}, result || %Result{})
  end

  defp begun(%__MODULE__{started: nil} = node) do
    Events.stage_started(node.facts)
    %{node | started: System.monotonic_time()}
  end

  defp begun(node), do: node

  @doc "Takes the results that have come back; each is to be settled."
  @spec take(t) :: {[Result.t()], t}
  def take(node), do: ask(node, :take, [])

  @doc "Sends on what it can; with `flush?` also what is not complete."
  @spec advance(t, boolean) :: {Result.t() | nil, t}
  def advance(node, flush?), do: ask(node, :advance, [flush?])

  @doc "Takes in a message of its inbox."
  @spec message(t, Mailbox.message()) :: {Result.t() | nil, t}
  def message(node, message), do: ask(node, :message, [message])

  defp ask(node, function, arguments) do
    {answer, state} = apply(node.module, function, [node.state | arguments])
    {answer, %{node | state: state}}
  end

  @doc "Counts a result; gives it with the entries that go on, those that pass by among them."
  @spec settle(t, Result.t()) :: {[Result.entry()], Result.t(), t}
  def settle(node, result) do
    {by, bypass} = Bypass.leave(node.bypass, result.took)
    out = length(result.on) - result.routed
    account = Account.settle(node.account, result, out)
    node = count(%{node | bypass: bypass, account: account}, result, out)
    {merge(result.on, by), halt(result, node), node}
  end

  # Each entry once: what was made of it counts for nothing.
  defp count(node, result, out) do
    for error <- result.errors, do: Events.item_failed(error, node.facts)
    ok = out - result.expanded - result.rerouted
    routed = result.routed + result.rerouted
    Events.settled(node.place, ok: ok, skipped: result.skipped, routed: routed)
    decided = ok + result.skipped + routed
    Runs.decided(node.seen, decided)
    %{node | decided: node.decided + decided}
  end

  defp merge(entries, []), do: entries
  defp merge([], entries), do: entries
  defp merge(one, other), do: :lists.merge(&(elem(&1, 0) <= elem(&2, 0)), one, other)

  defp halt(%Result{halt: {_seq, error}} = result, node) do
    Events.item_failed(error, node.facts)
    halted(result, node)
  end

  defp halt(result, _node), do: result

  defp halted(%Result{halt: {seq, %DispatchError{} = error}} = result, %{facts: facts}) do
    error = %PipeError{
      pipe: facts.pipe,
      stage: facts.stage,
      reason: error.reason,
      item: error.item,
      cause: error
    }

    %{result | halt: {seq, error}}
  end

  defp halted(result, _node), do: result

  ## What it is at

  @doc "Whether nothing is in it or waits to pass it by."
  @spec clear?(t) :: boolean
  def clear?(node), do: Bypass.clear?(node.bypass)

  @doc "Whether so much waits to pass it by that what is ahead must be sent on."
  @spec crowded?(t) :: boolean
  def crowded?(node), do: node.bypass.count > @most_beside

  @doc "Whether it could send a batch that is not full to a worker that has nothing to do."
  @spec partial?(t) :: boolean
  def partial?(%__MODULE__{module: module, state: state}), do: module.partial?(state)

  @doc "What is inside of it, for the board of runs."
  @spec inside(t) :: Runs.inside()
  def inside(node) do
    waiting = node.module.waiting(node.state)
    Map.put(waiting, :waiting, Map.get(waiting, :batching, 0))
  end

  @doc "What has passed it, where its time has gone, and what waits where."
  @spec status(t) :: map
  def status(node) do
    nothing = %{batching: 0, queued: 0, running: 0, retrying: 0}
    waiting = Map.merge(nothing, node.module.waiting(node.state))
    finished = Bypass.inside(node.bypass) - (waiting |> Map.values() |> Enum.sum())

    node.account
    |> Account.counts()
    |> Map.merge(Account.spent(node.module.work(node.state)))
    |> Map.merge(%{
      name: node.facts.stage,
      type: node.facts.type,
      waiting: Map.put(waiting, :finished, finished)
    })
  end

  ## The end

  @doc "Its receipt at `now`, with the error that stopped the run if that was its own."
  @spec receipt(t, integer, Exception.t() | nil) :: {term, Receipt.t()}
  def receipt(node, now, error) do
    work = node.module.work(node.state)
    duration = now - (node.started || now)

    receipt = Account.receipt(node.account, work, duration, if(own?(node, error), do: error))
    {node.facts.stage, %{receipt | name: node.facts.stage}}
  end

  @doc "Tells that the stage has ended, if it had begun. What is left in it has failed."
  @spec ended(t, Receipt.t(), Exception.t() | nil) :: :ok
  def ended(%__MODULE__{started: nil}, _receipt, _error), do: :ok

  def ended(node, receipt, error) do
    Events.settled(node.place, failed: node.account.in - node.decided)
    Events.stage_ended(receipt, node.facts, if(own?(node, error), do: error))
  end

  defp own?(_node, nil), do: false
  defp own?(node, error), do: Map.get(error, :stage) == node.facts.stage
end
