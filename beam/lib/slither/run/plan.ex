defmodule Slither.Run.Plan do
  @moduledoc false
  # What is the same for every batch of a flow: options read once, the call's head encoded once. Plain
  # data, made by whoever opens a run.

  alias Slither.{Context, Error, Guarded, Rate}
  alias Slither.Trace.Span
  alias Slither.Run.{Execute, Policy, Rated, Traced}
  alias Slither.Protocol.Frame
  alias Slither.Python.{Capture, Outcome, Pool, Target}

  @enforce_keys [:mode, :policy, :context]
  defstruct [
    :mode,
    :policy,
    :context,
    :ordering,
    :isolate,
    :max_in_flight,
    :max_bytes,
    :capacity,
    :bounded,
    :timeout,
    :item_timeout,
    :queue_timeout,
    :session,
    :on_session_lost,
    :metadata,
    :executor,
    :options,
    :capture,
    :wire,
    :trace,
    :rate,
    priority: :normal,
    raw: false,
    many: false,
    rests: false
  ]

  @typedoc """
  `mode` says where the flow's carrier runs batches: on a pool, with the head and the context of
  its calls as bytes, or with a function in processes on BEAM. At most `capacity` batches run at
  once. With `bounded`, results that nobody has read count as in flight. Where the driver `rests`,
  whoever reads its results may do so between two of them for as long as he likes. The events of batches
  carry `metadata`. A `timeout` of nil was not given. With `many`, each item has many values, and
  `wire` is the context of calls, for those that go on with one. `trace` is the template of their
  spans, nil for none. The other fields are the options of the same names.
  """
  @type t :: %__MODULE__{
          mode: {:pool, Pool.handle(), binary, binary} | {:local, (list -> Outcome.t())},
          policy: Policy.t(),
          context: Context.t(),
          ordering: :preserve | :as_completed,
          isolate: boolean,
          max_in_flight: pos_integer,
          max_bytes: pos_integer | nil,
          capacity: pos_integer,
          bounded: boolean,
          rests: boolean,
          timeout: timeout | nil,
          item_timeout: timeout,
          queue_timeout: timeout,
          session: String.t() | nil,
          on_session_lost: :error | :rebind | nil,
          metadata: map,
          executor: module | nil,
          options: keyword,
          capture: Capture.t() | nil,
          wire: map | nil,
          trace: Span.t() | nil,
          rate: Rate.Spec.t() | nil,
          priority: :urgent | :normal,
          raw: boolean,
          many: boolean
        }

  @doc "The plan of checked options; `bounded` for streams."
  @spec new(keyword, Context.t(), boolean) :: {:ok, t} | {:error, Error.t()}
  def new(options, %Context{} = context, bounded) do
    many? = options[:cardinality] == :many

    with {:ok, rate} <- Rated.find(options[:rate]),
         {:ok, mode, target, {wire, trace}} <- mode(options, context) do
      {:ok,
       %__MODULE__{
         mode: mode,
         policy: Policy.new!(options[:on_error]),
         context: context,
         ordering: options[:ordering],
         isolate: options[:isolate],
         max_in_flight: options[:max_in_flight],
         max_bytes: options[:max_in_flight_bytes],
         capacity: capacity(mode, options),
         bounded: bounded,
         timeout: options[:timeout],
         item_timeout: options[:item_timeout] || :infinity,
         queue_timeout: options[:queue_timeout],
         session: options[:session_id],
         on_session_lost: options[:on_session_lost],
         executor: options[:executor],
         raw: options[:raw] == true,
         many: many?,
         wire: if(many?, do: wire),
         trace: trace,
         rate: rate,
         priority: options[:priority] || :normal,
         capture: Capture.new(options[:capture_failures]),
         options: options,
         metadata: metadata(context, options[:pool], target)
       }}
    end
  end

  # The flow adds the number and the attempt of each batch.
  defp metadata(context, pool, target) do
    Map.merge(Target.facts(target), %{
      run: context.runtime[:run],
      pipe: context.pipe,
      stage: context.stage,
      pool: pool,
      batch: 0,
      attempt: 1
    })
  end

  @doc "The plan of a function that runs batches in `hands` processes on BEAM."
  @spec local((list -> Outcome.t()), Policy.t(), Context.t(), pos_integer, boolean) :: t
  def local(fun, policy, context, hands, bounded) do
    %__MODULE__{
      mode: {:local, fun},
      policy: policy,
      context: context,
      ordering: :preserve,
      isolate: false,
      max_in_flight: 2 * hands,
      capacity: hands,
      bounded: bounded,
      timeout: :infinity,
      item_timeout: :infinity,
      queue_timeout: :infinity,
      options: [],
      metadata: metadata(context, nil, nil)
    }
  end

  defp mode(options, context) do
    executor = options[:executor]

    case target(executor, options) do
      {:ok, target} -> pool(options[:pool], target, options, context)
      :external -> {:ok, {:local, &Execute.run(executor, &1, context, options)}, nil, {nil, nil}}
      {:error, error} -> {:error, error}
    end
  end

  defp target(executor, options) do
    cond do
      not Code.ensure_loaded?(executor) -> {:error, no_executor(executor)}
      function_exported?(executor, :target, 1) -> asked(executor, options)
      function_exported?(executor, :execute_batch, 3) -> :external
      true -> {:error, no_executor(executor)}
    end
  end

  defp asked(executor, options) do
    name = "#{inspect(executor)}.target/1"

    with {:ok, answer} <-
           Guarded.call(name, fn -> executor.target(options) end, reason: :invalid_option) do
      case answer do
        {:ok, target} when is_list(target) ->
          {:ok, target}

        :external ->
          :external

        {:error, %Error{} = error} ->
          {:error, error}

        other ->
          {:error, %Error{reason: :invalid_option, message: "#{name} gave #{inspect(other)}"}}
      end
    end
  end

  defp pool(name, target, options, context) do
    with {:ok, handle} <- Pool.handle(name) do
      {text, trace} = Traced.calls(target, name, context)
      wire = wire(options, context, text)
      limited = wire |> limited(options[:item_timeout]) |> framed(options[:as])
      head = Frame.call_head(target, limited)

      # The context is encoded once: messages to lanes share a binary, but would copy the term.
      {:ok, {:pool, handle, head, :erlang.term_to_binary(context)}, target, {wire, trace}}
    end
  end

  defp wire(options, context, trace) do
    wire = %{
      "run" => context.runtime[:run],
      "pipe" => name(context.pipe),
      "stage" => name(context.stage),
      "session" => options[:session_id]
    }

    # Where calls have spans of their own, each adds its own trace.
    wire = if trace, do: Map.put(wire, "trace", trace), else: wire

    if options[:cardinality] == :many, do: Map.put(wire, "many", true), else: wire
  end

  defp limited(wire, item) when item in [nil, :infinity], do: wire
  defp limited(wire, item), do: Map.put(wire, "item_timeout", item)

  defp framed(wire, nil), do: wire
  defp framed(wire, kind), do: Map.put(wire, "as", Atom.to_string(kind))

  # A session's calls go one at a time, which keeps their order.
  defp capacity({:pool, _handle, _head, _run}, options),
    do: if(options[:session_id], do: 1, else: options[:max_in_flight])

  defp capacity({:local, _fun}, options), do: options[:max_in_flight]

  defp name(nil), do: nil
  defp name(name), do: to_string(name)

  defp no_executor(executor) do
    %Error{
      reason: :invalid_option,
      message: "option :executor takes a module with execute_batch/3, got #{inspect(executor)}",
      details: %{option: :executor}
    }
  end
end
