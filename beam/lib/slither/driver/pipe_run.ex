defmodule Slither.Driver.PipeRun do
  @moduledoc false
  # A pipe over what the driver feeds: the loop of the run's own process, which the server starts
  # and sends the driver's frames. BEAM says how many items it takes and the driver how many
  # outputs, so that neither holds more of the other's than it has room for.

  alias Slither.{Driver, Error, Item}
  alias Slither.Driver.{Done, Faults, Options}
  alias Slither.Pipe.{Document, Run}
  alias Slither.Run.{Engine, Quiet}
  alias Slither.Protocol.{Decoder, Encoder, Frame}
  alias Slither.Pool.Handle
  alias Slither.Python.{Pool, Transport}

  @enforce_keys [:id, :port, :run, :quiet]
  defstruct @enforce_keys ++ [entry: [], asked: 0, next: 0, ended: false, credit: 0, firsts: %{}]

  @typedoc """
  A pipe that runs:

    * `entry`: items that are here and wait for room; `asked`: how many the driver was asked for
      and has not fed; `next`: the number that the next item must have; `ended`: whether there is
      no more input;
    * `credit`: how many outputs the driver has room for; `firsts`: by output, the number of its
      next item;
    * `quiet`: which stages hold a partial batch, and since when.
  """
  @type t :: %__MODULE__{
          id: pos_integer,
          port: Transport.t(),
          run: Run.t(),
          quiet: Quiet.t(),
          entry: [Item.t()],
          asked: non_neg_integer,
          next: non_neg_integer,
          ended: boolean,
          credit: integer,
          firsts: %{optional(Slither.Pipe.Definition.name()) => non_neg_integer}
        }

  # Items that may be on their way or wait here, so that the pipe need not wait for the driver.
  @ahead 256
  # What a Python stage has unless it says otherwise, where Python runs the pipe.
  @stages [timeout: :infinity, batch_size: :auto]
  # Batches that may be out unless it says otherwise, or twice the workers where that is more.
  @in_flight 8
  # ms after which a partial batch goes on when the driver has fed nothing more to it.
  @pause 5

  @doc "Runs until the input has ended and all is out; the last frame is `done`."
  @spec run(pos_integer, map, Transport.t()) :: boolean
  def run(id, spec, port) do
    with {:ok, document, options} <- Options.pipe(spec),
         {:ok, definition} <- Document.parse(document, python: stages()),
         {:ok, run} <- open(definition, options) do
      loop(%__MODULE__{id: id, port: port, run: run, quiet: %Quiet{after: @pause}})
    else
      {:error, error} -> Transport.write(port, Done.frame(id, nil, error))
    end
  end

  defp stages do
    case Pool.handle(:default) do
      {:ok, handle} -> [max_in_flight: max(@in_flight, 2 * Handle.most(handle))] ++ @stages
      {:error, _not_running} -> @stages
    end
  end

  defp open(definition, options) do
    options = Keyword.put_new(options, :metadata, %{})
    Run.open(definition, :fed, [kind: :pipe] ++ options, true)
  end

  defp loop(%{credit: credit} = state) when credit <= 0,
    do: state |> take(Driver.Run.await(:take)) |> loop()

  defp loop(state) do
    case Run.step(state.run) do
      {:outputs, outputs, run} ->
        %{state | run: run} |> emit(outputs) |> loop()

      {:wait, run} ->
        %{state | run: run} |> feed() |> wait()

      {:done, run} ->
        finish(%{state | run: run}, nil)

      {:halted, outputs, error, run} ->
        %{state | run: run} |> emit(outputs) |> finish(error)
    end
  end

  ## Input

  # Feeds the engine as many items as it wants of those that are here, then asks for more.
  defp feed(state) do
    case Run.ask(state.run, &Engine.want/1) do
      want when want > 0 and state.entry != [] ->
        {items, entry} = Enum.split(state.entry, want)
        {:go_on, update(ask(%{state | entry: entry}), &Engine.feed(&1, items))}

      want when want > 0 and state.ended ->
        {:go_on, update(state, &Engine.finish/1)}

      _none ->
        {:wait, ask(state)}
    end
  end

  defp update(state, fun), do: %{state | run: Run.update(state.run, fun)}

  defp ask(%{ended: true} = state), do: state

  defp ask(state) do
    room = @ahead - state.asked - length(state.entry)

    if room >= div(@ahead, 2) do
      write(state, {:more, state.id, room})
      %{state | asked: state.asked + room}
    else
      state
    end
  end

  defp wait({:go_on, state}), do: loop(state)

  defp wait({:wait, state}) do
    state = observe(state)

    receive do
      message -> state |> message(message) |> loop()
    after
      min(pause(state), Run.ask(state.run, &Engine.due/1)) -> state |> send_partial() |> loop()
    end
  end

  defp message(state, message) do
    case Driver.Run.read(message) do
      {:feed, body} -> take_in(state, body)
      {:end, _body} -> %{state | ended: true}
      {:take, body} -> take(state, body)
      _other -> deliver(state, message)
    end
  end

  # While a live input pauses, the items it has given go on rather than wait for a full batch.
  defp observe(%{entry: [], ended: false} = state) do
    partial = Run.ask(state.run, &Engine.partial/1)
    %{state | quiet: Quiet.observe(state.quiet, partial, now())}
  end

  defp observe(state), do: %{state | quiet: %Quiet{after: @pause}}

  defp pause(state) do
    case Quiet.next(state.quiet) do
      nil -> :infinity
      at -> max(0, at - now())
    end
  end

  defp send_partial(state) do
    due = Quiet.due(state.quiet, now())

    update(
      state,
      &Enum.reduce(due, &1, fn index, engine -> Engine.flush_stage(engine, index) end)
    )
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp take_in(state, body) do
    %{next: next} = state
    {:ok, {:feed, _id, ^next, count, %{data: data}}} = Frame.decode(body)

    case Decoder.decode(<<0xDD, count::32, data::binary>>) do
      {:ok, payloads} ->
        items = for {payload, n} <- Enum.with_index(payloads, state.next), do: item(payload, n)
        asked = state.asked - count
        %{state | entry: state.entry ++ items, next: state.next + count, asked: asked}

      {:error, why} ->
        exit({%Error{reason: :not_decodable, message: "the items can't be read: #{why}"}, []})
    end
  end

  defp item(payload, position), do: %Item{id: position, payload: payload}

  defp take(state, body) do
    {:ok, {:take, _id, count}} = Frame.decode(body)
    %{state | credit: state.credit + count}
  end

  defp deliver(state, message) do
    case Run.ask(state.run, &Engine.message(&1, message)) do
      {_ok_or_pool_down, engine} -> update(state, fn _before -> engine end)
      :unknown -> state
    end
  end

  ## Outputs

  defp emit(state, outputs) do
    outputs
    |> Enum.chunk_by(&elem(&1, 0))
    |> Enum.reduce(state, &send_chunk/2)
  end

  defp send_chunk([{output, _item} | _] = chunk, state) do
    encoded = for {{_output, item}, index} <- Enum.with_index(chunk), do: encode(item, index)

    values = for {value, _error} <- encoded, do: value
    errors = for {_value, {index, error}} <- encoded, into: %{}, do: {index, error}
    errors = if errors == %{}, do: nil, else: errors
    count = length(chunk)
    first = Map.get(state.firsts, output, 0)
    name = to_string(output)
    Transport.write(state.port, Frame.outputs(state.id, name, first, count, values, errors))
    firsts = Map.put(state.firsts, output, first + count)
    %{state | firsts: firsts, credit: state.credit - count}
  end

  defp encode(item, index) do
    case Encoder.encode(item.payload) do
      {:ok, value} ->
        {value, if(error = item.meta[:error], do: {index, Faults.to_wire(error)})}

      {:error, why} ->
        fault = %{"kind" => "not_encodable", "message" => why, "lost" => true}
        {<<0xC0>>, {index, fault}}
    end
  end

  ## End

  defp finish(state, error),
    do: Transport.write(state.port, Done.frame(state.id, Run.close(state.run, error), error))

  defp write(state, frame), do: Transport.write(state.port, Frame.encode!(frame))
end
