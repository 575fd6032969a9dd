defmodule Slither.Trace.Mode do
  @moduledoc false
  # Who records spans, known to all processes: set as the application starts, by the exporter, and for
  # a Python program that says where its spans go.

  alias Slither.Trace.Library

  @key __MODULE__

  @typedoc "Who records, and the part of calls without a context that begin a trace; nil is nobody."
  @type t :: %{to: :library | :exporter, sample: number} | nil

  @doc "Says who records from now on."
  @spec set(t) :: :ok
  def set(mode) do
    if get() != mode, do: :persistent_term.put(@key, mode)
    :ok
  end

  @doc "Has the exporter record, unless the library does."
  @spec exporter(number) :: :ok
  def exporter(sample),
    do: set(%{to: if(Library.loaded?(), do: :library, else: :exporter), sample: sample})

  @doc "Who records."
  @spec get() :: t
  def get, do: :persistent_term.get(@key, nil)
end
