defmodule Slither.Driver.LogHandler do
  @moduledoc false
  # A handler of Erlang's logger that sends events to the driver: all that workers print and log,
  # warnings and worse of BEAM's own, and what has `driver: true`. The process that logs runs it, so it never waits: an
  # event that does not fit into the socket is dropped, and counted.

  alias Slither.Driver.Words
  alias Slither.Protocol.{Facts, Frame}
  alias Slither.Python.Transport

  @longest 65_536
  @format %{template: [:msg], single_line: false}

  @doc "Has the log go to the driver."
  @spec install(Transport.t()) :: :ok | {:error, term}
  def install(port) do
    config = %{port: port, dropped: :atomics.new(1, signed: false)}
    # Like Elixir's Logger, leaves out the reports of supervisors on their children.
    sasl = {&:logger_filters.domain/2, {:stop, :sub, [:otp, :sasl]}}
    :logger.add_handler(__MODULE__, __MODULE__, %{config: config, filters: [sasl: sasl]})
  end

  @doc false
  @spec log(:logger.log_event(), map) :: :ok
  def log(%{level: level, meta: meta} = event, %{config: config}) do
    case meta do
      %{python_logger: logger} -> forward(event, level, logger, config)
      %{driver: true} -> forward(event, level, "slither.beam", config)
      _ -> if important?(level), do: forward(event, level, "slither.beam", config)
    end

    :ok
  end

  defp important?(level), do: :logger.compare_levels(level, :warning) != :lt

  defp forward(event, level, logger, %{port: port, dropped: dropped}) do
    # Many processes log at once. Each takes the count for itself, and puts it back if its own
    # event, which would tell it, is dropped as well.
    before = :atomics.exchange(dropped, 1, 0)
    facts = event.meta[:python_record]
    told = told(facts, event.meta)
    frame = {:log, 0, level(level), logger, text(event, facts), before, told}

    case Frame.encode(frame) do
      {:ok, body} ->
        if not Transport.offer(port, body), do: :atomics.add(dropped, 1, before + 1)

      {:error, _why} ->
        :atomics.add(dropped, 1, before + 1)
    end
  end

  # What was printed is no record, and is shown as it is.
  defp told(nil, %{python_logger: _logger}), do: nil
  defp told(facts, metadata), do: Facts.told(facts, metadata)

  # A progress bar redraws its line.
  defp text(%{meta: %{python_bar: true}} = event, _facts), do: "\r" <> line(event, nil)
  defp text(%{meta: %{python_logger: _logger}} = event, facts), do: line(event, facts)
  defp text(event, facts), do: event |> line(facts) |> Words.log_line()

  # Leaves out what stands below the message of a record: the driver makes it of the record.
  defp line(event, facts) do
    event
    |> :logger_formatter.format(@format)
    |> IO.chardata_to_string()
    |> String.replace_suffix(Facts.below(facts), "")
    |> String.slice(0, @longest)
  end

  defp level(level) when level in [:debug, :warning, :error], do: Atom.to_string(level)
  defp level(level) when level in [:info, :notice], do: "info"
  defp level(_worse), do: "critical"
end
