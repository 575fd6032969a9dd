defmodule Slither.Python.Voice do
  @moduledoc false
  # What a worker says: its log frames become Logger's events, with the pool and the worker from
  # the metadata of the worker's owner, which runs this, and with the call and its batch. The last
  # lines are kept for whoever asks what the worker does.

  require Logger

  alias Slither.Context
  alias Slither.Protocol.{Facts, Frame}
  alias Slither.Python.Call
  alias Slither.Python.Voice.Lines

  defstruct [:call, facts: [], about: [], lines: %Lines{}]

  @type t :: %__MODULE__{}

  @doc "A worker that has said nothing."
  @spec new :: t
  def new, do: %__MODULE__{}

  @doc "Logs a frame; `calls` are those that are out."
  @spec log(t, tuple, [Call.t()]) :: t
  def log(voice, {:log, id, level, logger, message, dropped, facts}, calls) do
    voice = about(voice, id, calls)
    metadata = [{:python_logger, logger} | voice.facts] ++ voice.about

    if dropped > 0,
      do: write("warning", "#{dropped} log lines and progress reports were dropped", metadata)

    # A frame without a message tells only of dropped lines.
    if message != "" or facts != nil or dropped == 0,
      do: said(voice, level, say(level, message, facts, metadata)),
      else: voice
  end

  defp said(voice, level, text), do: %{voice | lines: Lines.put(voice.lines, level, text)}

  @doc "The last lines that it has said, the oldest first."
  @spec said(t) :: [Lines.line()]
  def said(voice), do: Lines.all(voice.lines)

  # A state of a progress bar, which the next state overwrites.
  defp say(level, "\r" <> state = bar, nil, metadata) do
    write(level, state, [{:python_bar, true} | metadata])
    bar
  end

  # Logger would name this module as the source, so the metadata names the line of Python's code.
  defp say(level, message, facts, metadata) do
    text = message <> Facts.below(facts)
    write(level, text, Facts.metadata(facts) ++ metadata)
    text
  end

  @doc "What is known of a call: `call` and, where it is out or was the last to speak, its batch."
  @spec facts(t, non_neg_integer, [Call.t()]) :: {map, t}
  def facts(voice, id, calls) do
    voice = about(voice, id, calls)
    {Map.new(voice.facts), voice}
  end

  # Keeps the facts of the call that spoke last: it is looked up once however much it says, and is
  # still known if it speaks after its end.
  defp about(%__MODULE__{call: id} = voice, id, _calls), do: voice

  defp about(voice, id, calls) do
    case Enum.find(calls, &(&1.id == id)) do
      %Call{batch: batch, context: context, head: head} ->
        facts = [call: id, batch: batch] ++ names(context)
        %{voice | call: id, facts: facts, about: Facts.about(Frame.call_context(head))}

      nil ->
        %{voice | call: nil, facts: [call: id], about: []}
    end
  end

  defp names(nil), do: []

  defp names(context) do
    %Context{pipe: pipe, stage: stage, runtime: runtime} = :erlang.binary_to_term(context)
    for {name, value} <- [run: runtime[:run], pipe: pipe, stage: stage], value, do: {name, value}
  end

  defp write("debug", message, metadata), do: Logger.debug(message, metadata)
  defp write("info", message, metadata), do: Logger.info(message, metadata)
  defp write("warning", message, metadata), do: Logger.warning(message, metadata)
  defp write("error", message, metadata), do: Logger.error(message, metadata)
  defp write("critical", message, metadata), do: Logger.critical(message, metadata)
end
