defmodule Slither.Driver.GatherRun do
  @moduledoc false
  # A gather of a Python program: the loop of the run's own process, which the server starts and sends
  # the driver's frames. Each item is fed by itself, with its key, and answered by itself, as the bytes
  # it is. `Slither.Gather.Batches` has the items meanwhile.

  alias Slither.Driver.{Done, Faults, Options, Run}
  alias Slither.Gather.{Batches, Settings}
  alias Slither.Protocol.{Encoded, Frame}
  alias Slither.Python.Transport
  alias Slither.Run.Mailbox

  @enforce_keys [:id, :port, :mailbox, :batches]
  defstruct @enforce_keys ++ [:trace, next: 0, ended: false]

  @typedoc """
  `next` is the number that the next item must have, and `trace` its trace; `ended` says that none
  will come.
  """
  @type t :: %__MODULE__{
          id: pos_integer,
          port: Transport.t(),
          mailbox: Mailbox.t(),
          batches: Batches.t(),
          next: non_neg_integer,
          trace: String.t() | nil,
          ended: boolean
        }

  @nothing <<0xC0>>

  @doc "Runs until the driver ends it and all is answered; the last frame is `done`."
  @spec run(pos_integer, map, Transport.t()) :: boolean
  def run(id, spec, port) do
    run = "run-#{id}"

    with {:ok, options} <- Options.gather(spec),
         {:ok, plan} <- Settings.plan(options, run) do
      mailbox = Mailbox.open()
      inbox = Mailbox.inbox(mailbox, :gather)
      facts = %{gather: nil, run: run, pool: options[:pool]}
      batches = Batches.new(%{plan | raw: true}, inbox, options, facts)
      loop(%__MODULE__{id: id, port: port, mailbox: mailbox, batches: batches})
    else
      {:error, error} -> Transport.write(port, Done.frame(id, nil, error))
    end
  end

  defp loop(state) do
    if state.ended and Batches.idle?(state.batches),
      do: finish(state),
      else: state |> next() |> loop()
  end

  defp next(state) do
    receive do
      message -> message |> message(state) |> answer()
    after
      Batches.linger(state.batches) -> %{state | batches: Batches.rest(state.batches)}
    end
  end

  defp finish(state) do
    Batches.close(state.batches)
    Transport.write(state.port, Done.frame(state.id, nil, nil))
  end

  defp message(message, state) do
    case Run.read(message) do
      {:feed, body} -> feed(state, body)
      {:end, _body} -> %{state | ended: true}
      {:kill, body} -> forget(state, body)
      {:trace, body} -> %{state | trace: Run.trace(body)}
      _other -> deliver(state, message)
    end
  end

  defp deliver(state, message) do
    case Mailbox.match(state.mailbox, message) do
      {:gather, message} -> %{state | batches: Batches.message(state.batches, message)}
      :unknown -> state
    end
  end

  # The driver numbers the items it feeds. Each must be the next, or an answer could be taken for
  # another's. An item is a list of its key and itself.
  defp feed(%__MODULE__{next: next} = state, body) do
    {:ok, {:feed, _id, ^next, 1, %{data: <<0x92, pair::binary>>}}} = Frame.decode(body)
    {:ok, [%Encoded{data: key}, item], ""} = Encoded.split(pair, 2)
    batches = Batches.put(state.batches, next, key, item, state.trace)
    %{state | batches: batches, next: next + 1, trace: nil}
  end

  # The frame may have crossed the item's answer.
  defp forget(state, body) do
    {:ok, {:kill, _id, seq}} = Frame.decode(body)
    %{state | batches: Batches.forget(state.batches, seq)}
  end

  defp answer(state) do
    {answers, batches} = Batches.take(state.batches)
    for {seq, answer} <- answers, do: Transport.write(state.port, frame(state.id, seq, answer))
    %{state | batches: batches}
  end

  defp frame(id, seq, {:ok, %Encoded{data: data}}), do: Frame.outputs(id, nil, seq, 1, data, nil)

  defp frame(id, seq, {:error, error}),
    do: Frame.outputs(id, nil, seq, 1, @nothing, %{0 => Faults.to_wire(error)})
end
