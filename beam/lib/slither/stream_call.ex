defmodule Slither.StreamCall do
  @moduledoc false
  # One call of one Python function that gives values one by one: what `Slither.stream_call/4` does,
  # in the process that reads the stream.

  alias Slither.{Call, Options}
  alias Slither.Pool.Draw
  alias Slither.Python.Pool
  alias Slither.Run.Limited

  @docs [
    timeout:
      "ms until the next value, waits for a worker not counted; then its worker is killed.",
    queue_timeout: "ms that each chunk of values may wait for a worker.",
    session: "The session the call is part of: its state is there, and its worker runs the call."
  ]
  @options Enum.map(Call.table(), fn {name, rule} ->
             {name, if(doc = @docs[name], do: Keyword.put(rule, :doc, doc), else: rule)}
           end)
  @where "Slither.stream_call/4"

  @doc "The options as Markdown."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@options)

  @doc "The stream; raises where an argument is wrong, as nothing of it would ever run."
  @spec stream(Call.function_name(), Call.function_name(), list, keyword) :: Enumerable.t()
  def stream(module, function, args, options) do
    options = valid!(Options.validate(options, @options, @where))
    target = valid!(Call.target("apply", module, function, @where))
    payload = valid!(Call.arguments(args, options[:kwargs], @where))

    Stream.resource(
      fn -> open(target, payload, args, options) end,
      &next/1,
      &Draw.close/1
    )
  end

  defp open(target, payload, args, options) do
    handle = valid!(Pool.handle(options[:pool]))

    valid!(
      Limited.call(options[:rate], args, fn _rated ->
        {:ok, Draw.open(handle, target, payload, Call.pool_options(options))}
      end)
    )
  end

  defp next(draw) do
    case Draw.next(draw) do
      {:values, values, draw} -> {values, draw}
      {:ended, draw} -> {:halt, draw}
      {:error, error, _draw} -> raise error
    end
  end

  defp valid!({:ok, value}), do: value
  defp valid!({:error, error}), do: raise(error)
end
