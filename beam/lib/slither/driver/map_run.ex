defmodule Slither.Driver.MapRun do
  @moduledoc false
  # A function over items that the driver feeds in batches: the loop of the run's own process, which
  # the server starts and sends the driver's frames.
  #
  # Items and results pass through as the bytes they are: a batch as one block where its items are
  # tried once and together, else each item by itself. The driver keeps the bound on what is out:
  # it feeds no batch before it has room for its results.

  alias Slither.Driver.{Done, MapOutputs, Options, Run}
  alias Slither.{Context, Item}
  alias Slither.Metrics.Runs
  alias Slither.Protocol.{Block, Encoded, Frame}
  alias Slither.Python.Transport
  alias Slither.Run.{Account, AutoSize, Flow, Mailbox, Plan, Policy}
  alias Slither.Telemetry.Events

  @enforce_keys [:id, :port, :mailbox, :flow, :blocks?, :halt?, :ordered?, :started, :board]
  defstruct @enforce_keys ++ [:place, :trace, next: 0, ended: false, out: 0, skipped: 0, told: 1]

  @typedoc """
  A map that runs:

    * `blocks?`: whether a batch goes as one block of bytes; `halt?`: whether a failure ends the
      run; `ordered?`: whether results keep the input's order;
    * `place`: where what becomes of items is counted; `board`: where what is inside is shown;
    * `next`: the number that the next item must have; `ended`: whether there is no more input;
    * `out`, `skipped`: how many results and how many failures have gone out; `told`: the size of
      batches that the driver was told of;
    * `trace`: that of the batch which comes next, nil for none.
  """
  @type t :: %__MODULE__{
          id: pos_integer,
          port: Transport.t(),
          mailbox: Mailbox.t(),
          flow: Flow.t(),
          blocks?: boolean,
          halt?: boolean,
          ordered?: boolean,
          started: integer,
          board: Runs.t(),
          place: Slither.Metrics.Series.place(),
          next: non_neg_integer,
          ended: boolean,
          out: non_neg_integer,
          skipped: non_neg_integer,
          told: pos_integer,
          trace: String.t() | nil
        }

  # The part of a size by which another has to differ for the driver to hear of it.
  @step 10
  # Messages between two looks for results.
  @most_at_once 16

  @doc "Runs until the input has ended and all is answered; the last frame is `done`."
  @spec run(pos_integer, map, Transport.t()) :: boolean
  def run(id, spec, port) do
    started = System.monotonic_time()

    case plan(id, spec) do
      {:ok, plan} ->
        mailbox = Mailbox.open()
        # Where an item may fail its call alone, each is told apart.
        blocks? =
          plan.policy.retry == nil and not plan.isolate and plan.item_timeout == :infinity and
            plan.rate == nil

        loop(%__MODULE__{
          id: id,
          port: port,
          mailbox: mailbox,
          flow: plan |> kept(blocks?) |> Flow.new(Mailbox.inbox(mailbox, :map)),
          blocks?: blocks?,
          halt?: plan.policy.action == :halt,
          ordered?: plan.ordering == :preserve,
          place: Events.place(plan.metadata),
          # The driver makes its batches, of whatever sizes.
          board: Runs.open(Runs.plain(:dispatch, plan.metadata, nil)),
          started: started
        })

      {:error, error} ->
        Transport.write(port, Done.frame(id, nil, error))
    end
  end

  defp plan(id, spec) do
    with {:ok, options} <- Options.map(spec) do
      context = %Context{
        session_id: options[:session_id],
        metadata: options[:metadata],
        runtime: %{run: "run-#{id}"}
      }

      Plan.new(options, context, false)
    end
  end

  # `MapOutputs` decides what becomes of a block that failed.
  defp kept(plan, true), do: %{plan | policy: Policy.new!(:skip)}
  defp kept(plan, false), do: plan

  defp loop(state) do
    {chunks, flow} = Flow.take(state.flow)

    case emit(noted(%{state | flow: Flow.rest(flow)}), chunks) do
      {:ok, state} ->
        if state.ended and Flow.idle?(state.flow),
          do: finish(state, nil),
          else: state |> await() |> drain(@most_at_once) |> loop()

      {:halt, error, state} ->
        finish(state, error)
    end
  end

  defp await(state) do
    receive do
      message -> message(message, state)
    after
      Runs.due(state.board) -> state
    end
  end

  defp noted(%{flow: flow} = state),
    do: %{state | board: Runs.note(state.board, fn -> [Flow.where(flow)] end)}

  # Takes what has come meanwhile, so that its results go out together.
  defp drain(state, 0), do: state

  defp drain(state, left) do
    receive do
      message -> message |> message(state) |> drain(left - 1)
    after
      0 -> state
    end
  end

  defp message(message, state) do
    case Run.read(message) do
      {:feed, body} -> feed(state, body)
      {:end, _body} -> %{state | ended: true}
      {:kill, body} -> kill(state, body)
      {:trace, body} -> %{state | trace: Run.trace(body)}
      _other -> deliver(state, message)
    end
  end

  defp deliver(state, message) do
    case Mailbox.match(state.mailbox, message) do
      {:map, message} -> tell_size(%{state | flow: Flow.message(state.flow, message)})
      :unknown -> state
    end
  end

  # The driver makes the batches, and hears how large they should be where that is to be found. A
  # little more or less is not worth a frame.
  defp tell_size(%{told: told} = state) do
    with {auto, _workers} <- Flow.found(state.flow),
         whole when abs(whole - told) * @step > told <- AutoSize.whole(auto) do
      Transport.write(state.port, Frame.encode!({:more, state.id, whole}))
      %{state | told: whole}
    else
      _none_or_near -> state
    end
  end

  # The driver numbers the items it feeds. Each must be the next, or an answer could be taken for
  # another's.
  defp feed(%{next: next} = state, body) do
    {:ok, {:feed, _id, ^next, count, %{data: data}}} = Frame.decode(body)
    Runs.entered(Runs.place(state.board, 0), count)
    entries = entries(state, count, data)
    flow = Flow.submit(state.flow, [entries])
    %{state | next: state.next + count, flow: flow, trace: nil}
  end

  defp kill(state, body) do
    {:ok, {:kill, _id, first}} = Frame.decode(body)
    %{state | flow: Flow.kill(state.flow, first)}
  end

  defp entries(%{blocks?: true, next: next} = state, count, data),
    do: [{next, item(%Block{count: count, data: data}, next, state)}]

  defp entries(%{next: next} = state, count, data) do
    {:ok, payloads, ""} = Encoded.split(data, count)
    for {payload, seq} <- Enum.with_index(payloads, next), do: {seq, item(payload, seq, state)}
  end

  defp item(payload, seq, %{trace: nil}), do: %Item{id: seq, payload: payload}

  defp item(payload, seq, %{trace: trace}),
    do: %Item{id: seq, payload: payload, meta: %{trace: trace}}

  defp emit(state, []), do: {:ok, state}

  defp emit(state, chunks) do
    outputs = MapOutputs.read(chunks, state)

    for {first, count, values, errors} <- outputs.spans,
        do:
          Transport.write(state.port, Frame.outputs(state.id, nil, first, count, values, errors))

    Events.settled(state.place, ok: outputs.out, skipped: outputs.skipped)
    Runs.decided(Runs.place(state.board, 0), outputs.out + outputs.skipped)
    errors = if outputs.halt, do: [outputs.halt], else: outputs.failures
    for error <- errors, do: Events.item_failed(error, state.flow.plan.metadata)
    state = %{state | out: state.out + outputs.out, skipped: state.skipped + outputs.skipped}
    if outputs.halt, do: {:halt, outputs.halt, state}, else: {:ok, state}
  end

  defp finish(state, error) do
    Flow.close(state.flow)
    Events.settled(state.place, failed: state.next - state.out - state.skipped)
    Runs.close(state.board)
    duration = System.monotonic_time() - state.started
    account = %Account{in: state.next, out: state.out, skipped: state.skipped}
    receipt = Account.receipt(account, Flow.work(state.flow), duration, nil)
    receipt = %{receipt | name: state.flow.plan.metadata.target}
    Transport.write(state.port, Done.frame(state.id, receipt, error))
  end
end
