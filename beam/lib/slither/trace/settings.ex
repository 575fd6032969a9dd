defmodule Slither.Trace.Settings do
  @moduledoc false
  # What is configured of traces: `config :slither, trace: …`, the setting of a Python program, and the
  # variables that OpenTelemetry has for it. Pure but for the variables.

  alias Slither.{Error, Options}

  @where "config :slither, trace"
  # Where a receiver on this machine listens.
  @local "http://localhost:4318"

  @table [
    endpoint: [
      type: :string,
      doc: "Where OTLP is taken, by its URL. `/v1/traces` is added where it has no path."
    ],
    headers: [
      type: {:or, [:keyword, :map]},
      default: %{},
      doc: "Headers of each request, by name, such as a key."
    ],
    service: [type: :string, doc: "The name of the service, `slither` unless set."],
    sample: [
      type: {:custom, "a number from 0 to 1", &__MODULE__.part?/1},
      default: 0,
      doc: "The part of calls without a context that begin a trace."
    ],
    interval: [type: :pos_integer, default: 1_000, doc: "ms between two requests."],
    max_queue: [type: :pos_integer, default: 4_096, doc: "Spans that may wait to be sent."]
  ]

  @doc "The table of options."
  @spec table() :: Options.table()
  def table, do: @table

  @doc false
  @spec part?(term) :: boolean
  def part?(number), do: is_number(number) and number >= 0 and number <= 1

  @doc """
  The options of a configuration: a list, true for one by variables or on this machine, nil for one
  by variables. Nothing is sent where it is `:off`; the library, where there is one, has its own
  receiver, and records this part of what has no context, or nothing at all. Headers are in a
  function, as no crash report is to show the key that one of them may be.
  """
  @spec read(keyword | boolean | nil, boolean) ::
          {:ok, keyword} | {:off, sample :: number | nil} | {:error, Error.t()}
  def read(false, _library?), do: {:off, nil}

  def read(nil, library?),
    do: if(disabled?() or from_variables() == nil, do: {:off, 0}, else: read([], library?))

  def read(true, library?), do: read([endpoint: from_variables() || @local], library?)

  def read(options, library?) do
    with {:ok, options} <- Options.validate(options, @table, @where),
         do: read_checked(options, library? and options[:endpoint] == nil)
  end

  defp read_checked(options, own?) do
    if own? and from_variables() == nil do
      {:off, options[:sample]}
    else
      options =
        options
        |> Keyword.put_new_lazy(:endpoint, fn -> from_variables() || @local end)
        |> Keyword.put_new_lazy(:service, fn -> variable("OTEL_SERVICE_NAME") || "slither" end)
        |> Keyword.update!(:headers, &headers/1)
        |> Keyword.update!(:endpoint, &with_path/1)

      case URI.parse(options[:endpoint]) do
        %URI{scheme: scheme, host: host}
        when scheme in ["http", "https"] and host not in [nil, ""] ->
          {:ok, options}

        _ ->
          {:error,
           %Error{
             reason: :invalid_option,
             where: @where,
             message:
               "option :endpoint takes a URL such as #{@local}, got #{inspect(options[:endpoint])}",
             details: %{option: :endpoint}
           }}
      end
    end
  end

  defp from_variables do
    if exact = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") do
      exact
    else
      base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")
      base && String.trim_trailing(base, "/") <> "/v1/traces"
    end
  end

  # A receiver of gRPC takes none of ours.
  defp disabled? do
    protocol =
      variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") || variable("OTEL_EXPORTER_OTLP_PROTOCOL")

    variable("OTEL_SDK_DISABLED") == "true" or variable("OTEL_TRACES_EXPORTER") == "none" or
      protocol == "grpc"
  end

  defp with_path(endpoint) do
    case URI.parse(endpoint) do
      %URI{path: path} = uri when path in [nil, "", "/"] ->
        URI.to_string(%{uri | path: "/v1/traces"})

      _whole ->
        endpoint
    end
  end

  defp headers(given) do
    text =
      variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS") || variable("OTEL_EXPORTER_OTLP_HEADERS") ||
        ""

    own =
      for pair <- String.split(text, ",", trim: true),
          [name, value] <- [String.split(pair, "=", parts: 2)],
          do: {String.trim(name), value |> String.trim() |> URI.decode()}

    given = Map.new(given, fn {name, value} -> {to_string(name), to_string(value)} end)
    headers = own |> Map.new() |> Map.merge(given)
    fn -> headers end
  end

  defp variable(name), do: with("" <- System.get_env(name), do: nil)
end
