defmodule Slither.Pool.Traces do
  @moduledoc false
  # The templates of the spans of calls, in the process that asks for one; `Slither.Trace` says what
  # they are. `Slither.Run.Traced` has those of runs from here.

  alias Slither.Error
  alias Slither.Python.Target
  alias Slither.Trace.{Recorder, Span}

  @doc """
  What a call is below: the text that goes to Python as it is, and the template of its span, where
  there is one. Of a run, `metadata` may say it, `facts` are its attributes, and items may bring theirs.
  """
  @spec call([String.t()], term, map, Span.attributes()) :: {String.t() | nil, Span.t() | nil}
  def call(target, pool, metadata \\ %{}, facts \\ %{}) do
    Recorder.below(metadata, facts != %{}, fn ->
      method = Target.name(target)

      own = %{
        "rpc.system.name" => "slither",
        "rpc.method" => method,
        "slither.pool" => to_string(pool)
      }

      Span.put(%Span{name: method, kind: :client, start: Span.now()}, Map.merge(own, facts))
    end)
  end

  @doc "The span of a call that got no worker."
  @spec not_begun(Span.t() | nil, Error.t()) :: :ok
  def not_begun(nil, _error), do: :ok
  def not_begun(template, error), do: template |> Recorder.start() |> Recorder.finish(error)
end
