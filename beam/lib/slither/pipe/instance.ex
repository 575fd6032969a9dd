defmodule Slither.Pipe.Instance do
  @options [
    name: [type: :any, doc: "Names this pipe among those that run; the pipe's module unless set."],
    sinks: [
      type: {:or, [:keyword, :map]},
      default: [],
      doc:
        "A function of one item for each output, as in `[accept: fn item -> … end]`, or " <>
          "`%{\"accept\" => …}` for a pipe from Python."
    ],
    max_waiting: [
      type: :pos_integer,
      default: 1_000,
      doc: "Items that may wait at the entry; one push may not have more."
    ],
    flush_after: [
      type: :timeout,
      default: 10,
      doc:
        "ms without a new item after which a stage's partial batch goes to a worker that has " <>
          "nothing to do."
    ],
    shutdown: [
      type: :non_neg_integer,
      default: 5_000,
      doc: "ms it may take to finish what is in when its supervisor stops it."
    ],
    max_restarts: [type: :non_neg_integer, default: 3, doc: "Restarts in `max_seconds`."],
    max_seconds: [type: :pos_integer, default: 5, doc: "See `max_restarts`."],
    session_id: [type: :string, doc: "Pins the pipe's Python calls to one worker, in order."],
    metadata: [type: :map, default: %{}, doc: "Facts for handlers and views, in the context."]
  ]

  @push [
    timeout: [
      type: {:custom, "milliseconds (0 or more) or :infinity", &__MODULE__.patience?/1},
      default: :infinity,
      doc: "ms to wait for room."
    ],
    ack: [type: :any, doc: "Has messages say what became of each item; see below."]
  ]

  @moduledoc false
  # A long-running pipe: the supervisor of its processes, and the functions behind `Slither.Pipe`,
  # which run in the process of whoever calls them. `Heir`, `Sink`, `Server` and `Closer` stand and
  # fall together, and the supervisor owns their account. They stop in the opposite order: the closer
  # has the server finish while it can still deliver, and the heir says at the end what is lost.

  use Supervisor

  alias Slither.{Error, Options, PipeError}
  alias Slither.Pipe.{Closer, Counts, Definition, Heir, Names, Run, Runner, Server, Setup, Sink}
  alias Slither.Run.Traced

  @where "Slither.Pipe.start_link/2"

  # ms that a server may need beyond the time it was given.
  @grace 1_000

  @doc "The options as Markdown."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@options)

  @spec child_spec({Runner.pipe(), keyword}) :: Supervisor.child_spec()
  def child_spec({pipe, options}) do
    # A pipe that has used up its restarts ends with :shutdown. As it is :transient, its supervisor
    # does not start it again, and does not end with it.
    %{
      id: {__MODULE__, name(pipe, options)},
      start: {__MODULE__, :start_link, [pipe, options]},
      type: :supervisor,
      restart: :transient
    }
  end

  @spec start_link(Runner.pipe(), keyword) ::
          {:ok, pid} | {:error, Exception.t() | {:already_started, pid} | term}
  def start_link(pipe, options) do
    with {:ok, definition} <- Runner.definition(pipe, @where),
         {:ok, checked} <- Options.validate(options, @options, @where),
         :ok <- sinks(checked[:sinks], definition),
         :ok <- Run.check(definition, checked) do
      counts = Counts.new(definition)
      Counts.put(counts, :capacity, checked[:max_waiting])

      own = [name: name(pipe, checked), definition: definition, counts: counts]
      sinks = Map.new(checked[:sinks])
      start(struct!(Setup, Keyword.merge(checked, [sinks: sinks] ++ own)))
    end
  end

  defp start(setup) do
    via = Names.via(:instance, setup.name, setup.counts)

    case Supervisor.start_link(__MODULE__, setup, name: via) do
      {:error, {:shutdown, {:failed_to_start_child, _child, reason}}} -> {:error, reason}
      answer -> answer
    end
  end

  @impl true
  def init(setup) do
    :ok = Names.await_former(setup.name)
    server = %{id: Server, start: {Server, :start_link, [setup]}, shutdown: @grace}

    Supervisor.init([{Heir, setup}, {Sink, setup}, server, {Closer, setup}],
      strategy: :one_for_all,
      max_restarts: setup.max_restarts,
      max_seconds: setup.max_seconds
    )
  end

  @spec push(term, list, keyword) ::
          :ok | {:error, :saturated | :timeout | :draining | Exception.t()}
  # A guard fails on the length of a list that has no proper end.
  def push(pipe, items, options) when length(items) >= 0 do
    count = length(items)

    with {:ok, options} <- Options.validate(options, @push, "Slither.Pipe.push/3"),
         {:ok, server, counts} <- Names.find(:server, pipe) do
      timeout = options[:timeout]
      # The counters tell whether the pipe is full, so
      # a push that won't wait need not ask the server.
      fits? = count <= Counts.get(counts, :free) or count > Counts.get(counts, :capacity)

      if timeout == 0 and not fits?,
        do: {:error, :saturated},
        else: traced(pipe, counts, items, &Server.push(server, &1, count, timeout, ack(options)))
    end
  end

  def push(_pipe, other, _options) do
    message = "takes a list of items, got #{inspect(other, limit: 5)}"
    {:error, %Error{reason: :invalid_input, where: "Slither.Pipe.push/3", message: message}}
  end

  # A push has a span, which its items name as the one that they come from. It is of the pipe by the
  # name that spans of its batches have, whatever this one of it is called.
  defp traced(pipe, counts, items, push) do
    span = Traced.push(counts.pipe, length(items))
    answer = ask(pipe, fn -> span |> Traced.from(items) |> push.() end)
    Traced.pushed(span, answer)
  end

  defp ack(options) do
    case options[:ack] do
      nil -> nil
      {pid, _term} = ack when is_pid(pid) -> ack
      term -> {self(), term}
    end
  end

  @doc false
  @spec patience?(term) :: boolean
  def patience?(timeout), do: timeout == :infinity or (is_integer(timeout) and timeout >= 0)

  @spec drain(term, timeout) :: :ok | {:error, :timeout | Exception.t()}
  def drain(pipe, timeout), do: ask(pipe, &Server.drain(&1, timeout))

  @spec status(term) :: {:ok, map} | {:error, Exception.t()}
  def status(pipe), do: ask(pipe, &Server.status/1)

  @spec stop(term, timeout) :: {:ok, map} | {:error, Exception.t()}
  def stop(pipe, timeout) do
    with {:ok, instance, counts} <- Names.find(:instance, pipe) do
      drain_for(pipe, timeout)
      shut(instance)
      # The pipe's processes are gone, so the items inside are lost.
      Counts.lose(counts)
      {:ok, Counts.read(counts)}
    end
  end

  # A server whose handler never returns can't answer:
  # wait so long, and stop the pipe all the same.
  defp drain_for(pipe, timeout) do
    with {:ok, server, _counts} <- Names.find(:server, pipe) do
      patience = if timeout == :infinity, do: :infinity, else: timeout + @grace
      drained = Server.drain(server, timeout, patience)
      if drained != :ok, do: Server.give_up(server)
    end
  catch
    :exit, _reason -> :ok
  end

  defp shut(instance) do
    Supervisor.stop(instance, :normal, :infinity)
  catch
    # Another process has stopped it.
    :exit, _reason -> :ok
  end

  defp ask(pipe, request) when is_function(request, 1) do
    with {:ok, server, _counts} <- Names.find(:server, pipe),
         do: ask(pipe, fn -> request.(server) end)
  end

  defp ask(pipe, request) do
    request.()
  catch
    :exit, {reason, {GenServer, :call, _arguments}} -> {:error, down(pipe, reason)}
  end

  defp down(pipe, reason) do
    %PipeError{
      pipe: pipe,
      reason: :pipe_down,
      message:
        "ended before it answered; Slither.Pipe.status/1 says what was lost, once it is " <>
          "back: " <> Exception.format_exit(reason),
      cause: reason
    }
  end

  defp sinks(sinks, definition) do
    Enum.find_value(sinks, :ok, fn {output, sink} ->
      cond do
        output not in definition.outputs -> {:error, unknown_output(output, definition)}
        not is_function(sink, 1) -> {:error, no_sink(output, sink)}
        true -> nil
      end
    end)
  end

  defp unknown_output(output, definition) do
    known = Enum.map_join(definition.outputs, ", ", &inspect/1)
    nearest = Options.nearest(output, definition.outputs)

    %Error{
      reason: :unknown_output,
      where: @where,
      message:
        "pipe #{inspect(definition.name)} has no output #{inspect(output)}.#{nearest} " <>
          "Outputs: #{known}",
      details: %{output: output}
    }
  end

  defp no_sink(output, sink) do
    %Error{
      reason: :invalid_option,
      where: @where,
      message:
        "the sink of #{inspect(output)} is a function of arity 1, got #{inspect(sink, limit: 5)}",
      details: %{option: :sinks}
    }
  end

  defp name(pipe, options) do
    case is_list(options) and Keyword.keyword?(options) and Keyword.fetch(options, :name) do
      {:ok, name} -> name
      _none -> if is_struct(pipe, Definition), do: pipe.name, else: pipe
    end
  end
end
