defmodule Slither.Driver.Words do
  @moduledoc false
  # Errors in the words of those who write Python: options as Python has them, seconds, and what to
  # do about it from there. Pure; `Slither.Driver.Faults` calls it for each error that a driver gets.

  alias Slither.Error
  alias Slither.Python.Limit

  # What to do, by reason, where the error's own hint is for those who write Elixir; nil for nothing.
  @hints %{
    session_lost: "beam.end_session(name) lets it begin anew",
    session_in_use: "end it once its run is over, or from another thread",
    saturated: "send less at once, add workers, or raise pool={\"max_queue\": …}",
    queue_timeout: "add workers, or raise queue_timeout=",
    unknown_pool: "a Beam has one pool, called default: leave pool= out",
    too_large: "lower batch_size, or batch by weight=",
    version_mismatch: "install slither-beam again: both sides come with it",
    no_interpreter: "install Python 3.10 or newer, or give Beam(python=…) its path",
    missing_option: nil
  }
  # Of these the sentence names options and values as Elixir writes them.
  @of_options [:invalid_option, :unknown_option, :missing_option, :invalid_options, :unknown_pool]

  @doc "The error as somebody who writes Python reads it."
  @spec in_python(Error.t()) :: Error.t()
  # What Python has said it has said in its own words.
  def in_python(%Error{python: python} = error) when python != nil,
    do: %{error | where: place(error.where)}

  def in_python(%Error{} = error) do
    error = Limit.in_python(error)

    %{
      error
      | where: place(error.where),
        message: sentence(error),
        hint: hint(error)
    }
  end

  # A driver has its own words for what a function was given.
  defp hint(%Error{details: %{"gave" => _what}}), do: nil

  # A pool without workers has the reason of a worker that could not start.
  defp hint(%Error{reason: :pool_unavailable, details: %{start_reason: reason}} = error),
    do: Map.get(@hints, reason, error.hint)

  defp hint(%Error{reason: reason} = error), do: Map.get(@hints, reason, error.hint)

  defp sentence(%Error{reason: reason, message: message}) when reason in @of_options,
    do: plain(message)

  defp sentence(error), do: error.message

  # `:name` is 'name', and nil is None.
  defp plain(text) do
    text
    |> String.replace(~r/(?<![\w:"'])nil\b/, "None")
    |> String.replace(~r/(?<![\w:"'])true\b/, "True")
    |> String.replace(~r/(?<![\w:"'])false\b/, "False")
    |> String.replace(~r/(?<![\w:"']):infinity\b/, "None")
    |> String.replace(~r/(?<![\w:"']):([a-z_]+)/, "'\\1'")
  end

  @doc "A line that BEAM logs: a Beam has one pool, which needs no name."
  @spec log_line(String.t()) :: String.t()
  def log_line(line) do
    line |> String.replace("pool :default: ", "") |> String.replace("pool :default ", "the pool ")
  end

  # A driver has one pool, names the pipe itself, and calls no function of Elixir's.
  defp place("pool :default"), do: nil
  defp place("pipe \"" <> _name), do: nil
  defp place("Slither." <> _function), do: nil
  defp place("store {Slither.Driver.Tables, " <> rest), do: "table #{table(rest)}"
  defp place(where), do: where

  defp table(rest), do: rest |> String.split("}", parts: 2) |> hd()
end
