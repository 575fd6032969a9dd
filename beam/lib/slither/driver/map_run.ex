defmodule Slither.Driver.MapRun do
  @moduledoc false
  # A function over items that the driver feeds in batches. Items and results pass through as
  # the bytes they are: a batch as one block where its items are tried once and together, else
  # each item by itself. The driver keeps the bound on what is out: it feeds no batch before it
  # has room for its results.

  alias Slither.{Context, DispatchError, Error, Item, Receipt}
  alias Slither.Dispatch.Settings
  alias Slither.Run.{Flow, Mailbox, Plan, Policy}
  alias Slither.Driver.{Executor, Fault, Spec}
  alias Slither.Protocol.{Block, Encoded, Frame, Splitter}
  alias Slither.Python.Fault, as: PythonFault
  alias Slither.Python.PortWriter

  # Messages between two looks for results, and bytes of a frame of several blocks.
  @most_at_once 16
  @most_together 65_536

  @doc "Runs until the input has ended and all is answered; the last frame is `done`."
  @spec run(pos_integer, map, PortWriter.to()) :: :ok
  def run(id, spec, port) do
    started = System.monotonic_time()

    case plan(id, spec) do
      {:ok, plan} ->
        mailbox = Mailbox.open()
        blocks? = plan.policy.retry == nil and not plan.isolate

        loop(%{
          id: id,
          port: port,
          mailbox: mailbox,
          flow: plan |> kept(blocks?) |> Flow.new(Mailbox.inbox(mailbox, :map)),
          blocks?: blocks?,
          halt?: plan.policy.action == :halt,
          ordered?: plan.ordering == :preserve,
          next: 0,
          ended: false,
          counts: %{in: 0, expanded: 0, out: 0, skipped: 0, routed: 0},
          started: started
        })

      {:error, error} ->
        done(port, id, %{}, error)
    end
  end

  defp plan(id, spec) do
    with {:ok, options} <- Spec.map(spec),
         {:ok, options} <- Settings.check([executor: Executor, raw: true] ++ options, "map") do
      context = %Context{
        session_id: options[:session_id],
        metadata: options[:metadata],
        runtime: %{run: "run-#{id}"}
      }

      Plan.new(options, context, false)
    end
  end

  # Of a block that failed, the run itself says what becomes.
  defp kept(plan, true), do: %{plan | policy: Policy.new!(:skip)}
  defp kept(plan, false), do: plan

  defp loop(state) do
    {chunks, flow} = Flow.take(state.flow)
    state = %{state | flow: Flow.rest(flow)}

    case emit(chunks, state) do
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
    end
  end

  # What has come meanwhile, so that its results go out together.
  defp drain(state, 0), do: state

  defp drain(state, left) do
    receive do
      message -> message |> message(state) |> drain(left - 1)
    after
      0 -> state
    end
  end

  defp message({:feed, body}, state), do: feed(state, body)
  defp message({:end, _body}, state), do: %{state | ended: true}
  defp message({:kill, body}, state), do: kill(state, body)

  defp message(message, state) do
    case Mailbox.match(state.mailbox, message) do
      {:map, message} -> %{state | flow: Flow.message(state.flow, message)}
      :unknown -> state
    end
  end

  # Who feeds numbers the items, and each must be the next: an answer can't be taken for another's.
  defp feed(%{next: next} = state, body) do
    {:ok, {:feed, _id, ^next, count, %{data: data}}} = Frame.decode(body)
    entries = entries(state, count, data)
    %{state | next: state.next + count, flow: Flow.submit(state.flow, [entries])}
  end

  defp kill(state, body) do
    {:ok, {:kill, _id, first}} = Frame.decode(body)
    %{state | flow: Flow.kill(state.flow, first)}
  end

  defp entries(%{blocks?: true, next: next}, count, data),
    do: [{next, item(%Block{count: count, data: data}, next)}]

  defp entries(%{next: next}, count, data) do
    {:ok, payloads, ""} = Encoded.split(data, count)
    for {payload, seq} <- Enum.with_index(payloads, next), do: {seq, item(payload, seq)}
  end

  defp item(payload, seq), do: %Item{id: seq, payload: payload}

  ## Outputs

  defp emit([], state), do: {:ok, state}

  defp emit([{:ok, [{first, %Item{payload: %Block{} = block}}]} | chunks], state) do
    case block.errors do
      nil ->
        {blocks, count, chunks} = together(chunks, first + block.count, block, state)
        count = block.count + count
        send_outputs(state, first, count, [block.data | blocks], nil)
        emit(chunks, count(state, :out, count))

      errors ->
        faults = Map.new(errors, fn {index, fault} -> {index, PythonFault.to_error(fault)} end)
        failed_block(first, block, faults, chunks, state)
    end
  end

  defp emit([{:mixed, [{first, :skipped, %Item{payload: %Block{}} = item}]} | chunks], state) do
    %Item{payload: block, meta: %{error: error}} = item
    nothing = %{block | data: :binary.copy(<<0xC0>>, block.count)}
    faults = Map.new(0..(block.count - 1), &{&1, error})
    failed_block(first, nothing, faults, chunks, state)
  end

  defp emit([{:ok, [{first, _item} | _] = entries} | chunks], state) do
    values = for {_seq, item} <- entries, do: item.payload.data
    count = length(entries)
    send_outputs(state, first, count, values, nil)
    emit(chunks, count(state, :out, count))
  end

  defp emit([{:ok, []} | chunks], state), do: emit(chunks, state)

  # What failed has a place of its own among the others; a frame holds what is consecutive.
  defp emit([{:mixed, outcomes} | chunks], state) do
    outcomes
    |> Enum.chunk_while([], &consecutive/2, &{:cont, Enum.reverse(&1), []})
    |> Enum.reject(&(&1 == []))
    |> Enum.reduce(state, &mixed/2)
    |> then(&emit(chunks, &1))
  end

  defp emit([{:halt, _seq, error} | _chunks], state), do: {:halt, error, state}

  # The blocks without errors that come next, while all are small. Who wants results as they
  # come has fed some by themselves, and gets them so.
  defp together(chunks, next, block, %{ordered?: true}),
    do: together(chunks, next, byte_size(block.data))

  defp together(chunks, _next, _block, _state), do: {[], 0, chunks}

  defp together([{:ok, [{next, %Item{payload: %Block{errors: nil} = block}}]} | rest], next, size)
       when size + byte_size(block.data) <= @most_together do
    {blocks, count, chunks} = together(rest, next + block.count, size + byte_size(block.data))
    {[block.data | blocks], block.count + count, chunks}
  end

  defp together(chunks, _next, _size), do: {[], 0, chunks}

  defp failed_block(first, block, faults, chunks, %{halt?: false} = state) do
    wire = Map.new(faults, fn {index, error} -> {index, Fault.to_wire(error)} end)
    send_outputs(state, first, block.count, block.data, wire)
    failed = map_size(faults)
    emit(chunks, state |> count(:out, block.count - failed) |> count(:skipped, failed))
  end

  defp failed_block(first, block, faults, _chunks, state) do
    good = faults |> Map.keys() |> Enum.min()
    error = at(faults[good], first + good)

    if good > 0 do
      {:ok, rest} = Splitter.skip(block.data, good)
      data = binary_part(block.data, 0, byte_size(block.data) - byte_size(rest))
      send_outputs(state, first, good, data, nil)
    end

    {:halt, error, count(state, :out, good)}
  end

  # Of a batch that failed as a whole, no item is at fault by itself.
  defp at(%DispatchError{} = error, _position), do: error

  defp at(%Error{} = error, position),
    do: %DispatchError{reason: error.reason, item: position, cause: error}

  defp consecutive({seq, _, _} = outcome, [{last, _, _} | _] = chunk) when seq == last + 1,
    do: {:cont, [outcome | chunk]}

  defp consecutive(outcome, []), do: {:cont, [outcome]}
  defp consecutive(outcome, chunk), do: {:cont, Enum.reverse(chunk), [outcome]}

  defp mixed([{first, _, _} | _] = outcomes, state) do
    values =
      for {_seq, kind, item} <- outcomes,
          do: if(kind == :ok, do: item.payload.data, else: <<0xC0>>)

    errors =
      for {{_seq, kind, item}, index} <- Enum.with_index(outcomes),
          kind != :ok,
          into: %{},
          do: {index, Fault.to_wire(item.meta.error)}

    count = length(outcomes)
    send_outputs(state, first, count, values, if(errors == %{}, do: nil, else: errors))
    state |> count(:out, count - map_size(errors)) |> count(:skipped, map_size(errors))
  end

  defp send_outputs(state, first, count, values, errors) do
    PortWriter.write(state.port, Frame.outputs(state.id, nil, first, count, values, errors))
  end

  defp count(state, key, count), do: update_in(state.counts[key], &(&1 + count))

  ## End

  defp finish(state, error) do
    Flow.close(state.flow)
    duration = System.monotonic_time() - state.started
    receipt = Receipt.new(%{state.counts | in: state.next}, state.flow.work, duration)
    done(state.port, state.id, Spec.receipt(receipt), error)
  end

  defp done(port, id, receipt, error) do
    fault = if error, do: Fault.to_wire(error)
    PortWriter.write(port, Frame.encode!({:done, id, receipt, fault}))
    :ok
  end
end
