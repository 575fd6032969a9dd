defmodule Slither.Trace.Exporter do
  @moduledoc false
  # Sends spans to a receiver of OTLP, in a process that is there only where one is configured. Whoever
  # ends a span puts it into a table, and goes on: what the receiver does not take in time is dropped.

  use GenServer

  require Logger

  alias Slither.OTP
  alias Slither.Telemetry.Events
  alias Slither.Trace.{Mode, OTLP, Span}

  @table __MODULE__
  @limit {__MODULE__, :limit}
  # Spans of one request, and how many wait before the next goes early.
  @together 512
  # ms that a request may take; and at the end of the application.
  @patience 10_000
  @last 2_000
  # What may be better soon, and how often that is tried, after how many ms at first.
  @again [408, 429, 502, 503, 504]
  @attempts 5
  @pause 1_000

  defmodule State do
    @moduledoc false
    # What the exporter knows: its options, the request that waits to be tried again, and whether the
    # receiver took the last.
    @enforce_keys [:options, :resource, :version]
    defstruct [:options, :resource, :version, :timer, :waiting, well?: true]

    @typedoc "`waiting` is a request with how many spans it has, and how often it was tried."
    @type t :: %__MODULE__{
            options: keyword,
            resource: map,
            version: String.t(),
            timer: reference | nil,
            waiting: {iodata, pos_integer, pos_integer} | nil,
            well?: boolean
          }
  end

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "Whether it is there, so that workers have somebody to tell of their spans."
  @spec takes?() :: boolean
  def takes?, do: Process.whereis(__MODULE__) != nil

  @doc "Takes a span that has ended."
  @spec record(Span.t()) :: :ok
  def record(span) do
    waiting = :ets.info(@table, :size)

    if waiting < :persistent_term.get(@limit) do
      :ets.insert(@table, {System.unique_integer(), span})
      if waiting == @together, do: send(__MODULE__, {__MODULE__, :full})
    else
      dropped(1)
    end

    :ok
  rescue
    # It is gone, or starts anew.
    ArgumentError -> dropped(1)
  end

  @doc "So many spans were not sent."
  @spec dropped(non_neg_integer) :: :ok
  def dropped(count), do: Events.spans(:dropped, count)

  @doc "Sends all that waits."
  @spec flush(timeout) :: :ok | {:error, term}
  def flush(timeout) do
    GenServer.call(__MODULE__, {:flush, timeout}, timeout)
  catch
    :exit, {:noproc, _call} -> {:error, :off}
    :exit, {reason, _call} -> {:error, reason}
  end

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    case http(options[:endpoint]) do
      :ok ->
        table = [:named_table, :public, :ordered_set, write_concurrency: true]
        :ets.new(@table, table)
        :persistent_term.put(@limit, options[:max_queue])
        Mode.exporter(options[:sample])
        version = to_string(Application.spec(:slither, :vsn))
        state = %State{options: options, resource: resource(options, version), version: version}
        {:ok, later(state, options[:interval])}

      {:error, missing} ->
        Logger.error("traces are not sent: #{missing}")
        :ignore
    end
  end

  # Of later releases the client asks `public_key` for what it never uses without TLS.
  defp http(endpoint) do
    tls =
      for application <- [:crypto, :asn1, :public_key, :ssl],
          do: {application, OTP.found?(application)}

    tls = if String.starts_with?(endpoint, "https"), do: tls, else: []

    case Enum.find([inets: OTP.found?(:inets)] ++ tls, &match?({_application, false}, &1)) do
      nil -> started(if(tls == [], do: [:inets], else: [:inets, :ssl]))
      {application, false} -> {:error, missing(application)}
    end
  end

  defp started(applications) do
    Enum.find_value(applications, :ok, fn application ->
      case Application.ensure_all_started(application) do
        {:ok, _started} -> nil
        {:error, _missing} -> {:error, missing(application)}
      end
    end)
  end

  defp missing(application) do
    "Erlang's application #{application} is not there (Debian: apt install erlang-#{application}; in a " <>
      "release: extra_applications: [:#{application}])"
  end

  defp resource(options, version) do
    %{
      "service.name" => options[:service],
      "telemetry.sdk.name" => "slither",
      "telemetry.sdk.language" => "erlang",
      "telemetry.sdk.version" => version,
      "process.pid" => String.to_integer(System.pid())
    }
  end

  @impl true
  def handle_call({:flush, timeout}, _from, state) do
    {answer, state} = send_all(state, limit(timeout))
    {:reply, answer, state}
  end

  defp limit(:infinity), do: @patience
  defp limit(timeout), do: min(timeout, @patience)

  @impl true
  def handle_info({__MODULE__, :full}, %State{waiting: nil} = state),
    do: {:noreply, send_some(state)}

  def handle_info({:timeout, timer, :send}, %State{timer: timer} = state),
    do: {:noreply, later(send_some(%{state | timer: nil}), pause(state))}

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    _ = send_all(state, @last)
    Mode.set(nil)
  end

  ## Sending

  defp later(state, time), do: %{state | timer: :erlang.start_timer(time, self(), :send)}

  defp pause(%State{waiting: {_body, _count, tried}}), do: @pause * Integer.pow(2, tried - 1)
  defp pause(state), do: state.options[:interval]

  # One request at a time: whatever the receiver does, this process takes its messages.
  defp send_some(%State{waiting: nil} = state) do
    case take() do
      [] -> state
      spans -> state |> request(spans) |> post(@patience) |> more(length(spans))
    end
  end

  defp send_some(state), do: post(state, @patience)

  defp more(%State{waiting: nil} = state, count) when count >= @together, do: send_some(state)
  defp more(state, _count), do: state

  # What could not be sent a moment ago is tried again later, not at once.
  defp send_all(%State{waiting: nil} = state, patience) do
    case take() do
      [] -> {:ok, state}
      spans -> state |> request(spans) |> send_all(patience)
    end
  end

  defp send_all(state, patience) do
    case post(state, patience) do
      %State{waiting: nil} = state -> send_all(state, patience)
      state -> {{:error, :not_sent}, state}
    end
  end

  defp take do
    case :ets.select(@table, [{{:"$1", :"$2"}, [], [:"$$"]}], @together) do
      {rows, _more} ->
        for [key, span] <- rows do
          :ets.delete(@table, key)
          span
        end

      :"$end_of_table" ->
        []
    end
  end

  defp request(state, spans) do
    body = spans |> OTLP.request(state.resource, state.version) |> IO.iodata_to_binary()
    %{state | waiting: {body, length(spans), 0}}
  end

  defp post(%State{waiting: {body, count, tried}, options: options} = state, patience) do
    case ask(options, body, patience) do
      {:ok, status} when status in 200..299 ->
        Events.spans(:sent, count)
        if not state.well?, do: Logger.info("traces are sent again to #{receiver(state)}")
        %{state | waiting: nil, well?: true}

      {:ok, status} when status not in @again ->
        give_up(state, count, "it answers #{status}")

      answer when tried + 1 < @attempts ->
        told(%{state | waiting: {body, count, tried + 1}}, why(answer))

      answer ->
        give_up(state, count, why(answer))
    end
  end

  defp why({:ok, status}), do: "it answers #{status}"
  defp why({:error, reason}), do: inspect(reason, limit: 10)

  defp give_up(state, count, why) do
    dropped(count)
    told(%{state | waiting: nil}, why)
  end

  # Told once, until it is well again.
  defp told(%State{well?: false} = state, _why), do: state

  defp told(state, why) do
    Logger.warning("traces can't be sent to #{receiver(state)}: #{why}")
    %{state | well?: false}
  end

  # Without a password that the address may have.
  defp receiver(state),
    do: URI.to_string(%{URI.parse(state.options[:endpoint]) | userinfo: nil})

  defp ask(options, body, patience) do
    url = String.to_charlist(options[:endpoint])

    headers =
      for {name, value} <- options[:headers].(), do: {to_charlist(name), to_charlist(value)}

    request = {url, headers, ~c"application/x-protobuf", body}
    limits = [timeout: patience, connect_timeout: patience] ++ secure(options[:endpoint])

    case apply(:httpc, :request, [:post, request, limits, [body_format: :binary]]) do
      {:ok, {{_version, status, _reason}, _headers, _body}} -> {:ok, status}
      {:error, reason} -> {:error, reason}
    end
  catch
    # The client is not Slither's, and its end is to cost no more than a request.
    kind, reason -> {:error, {kind, reason}}
  end

  defp secure("https" <> _rest) do
    [
      ssl: [
        verify: :verify_peer,
        cacerts: apply(:public_key, :cacerts_get, []),
        customize_hostname_check: [
          match_fun: apply(:public_key, :pkix_verify_hostname_match_fun, [:https])
        ]
      ]
    ]
  end

  defp secure(_plain), do: []
end
