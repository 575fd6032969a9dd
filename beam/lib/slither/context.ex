defmodule Slither.Context do
  @moduledoc """
  What a handler or a view knows about where it runs.

    * `pipe`, `stage`: their names, `nil` outside a pipe;
    * `session_id`: the session of the run: the one asked for, else one made for the run;
    * `stores`: the stores the pipe declared, by name;
    * `metadata`: what the caller passed as `metadata:`;
    * `runtime`: facts of the moment: `:run`, and in a view `:pool`, `:worker` and `:view`.

  Runs make their own; `new/1` makes one by hand, for a stage or a handler that a test calls alone:

      iex> context = Slither.Context.new(stage: :prepare, metadata: %{tenant: "a"})
      iex> {:ok, state} = Slither.Stage.Beam.init(handler: &{&1.payload, &2.metadata.tenant})
      iex> Slither.Stage.Beam.handle_item(Slither.Item.wrap(1), context, state)
      {1, "a"}
  """

  alias Slither.Options

  @fields [
    pipe: [type: {:or, [:name, {:in, [nil]}]}],
    stage: [type: {:or, [:name, {:in, [nil]}]}],
    session_id: [type: :string],
    stores: [type: :map],
    metadata: [type: :map],
    runtime: [type: :map]
  ]

  defstruct [:pipe, :stage, :session_id, stores: %{}, metadata: %{}, runtime: %{}]

  @type t :: %__MODULE__{
          pipe: atom | String.t() | nil,
          stage: atom | String.t() | nil,
          session_id: String.t() | nil,
          stores: %{optional(atom | String.t()) => term},
          metadata: map,
          runtime: map
        }

  @doc """
  A context with the given fields; `session_id` is one of its own unless given. Raises for a field
  that a context does not have, and for a value that the field can't be.

      iex> Slither.Context.new(session_id: "user-7").session_id
      "user-7"
      iex> Slither.Context.new().session_id == Slither.Context.new().session_id
      false
  """
  @spec new(keyword) :: t
  def new(fields \\ []) do
    number = System.unique_integer([:positive])
    session_id = "slither_#{System.system_time(:millisecond)}_#{number}"
    fields = Options.validate!(fields, @fields, "Slither.Context.new/1")
    struct!(%__MODULE__{session_id: session_id}, fields)
  end

  @doc """
  The context in another stage.

      iex> Slither.Context.with_stage(Slither.Context.new(), :score).stage
      :score
  """
  @spec with_stage(t, atom | String.t()) :: t
  def with_stage(%__MODULE__{} = context, stage), do: %{context | stage: stage}

  @doc """
  The context with more facts in its `metadata`.

      iex> context = Slither.Context.new(metadata: %{a: 1})
      iex> Slither.Context.put_metadata(context, %{b: 2}).metadata
      %{a: 1, b: 2}
  """
  @spec put_metadata(t, map) :: t
  def put_metadata(%__MODULE__{metadata: metadata} = context, facts) when is_map(facts),
    do: %{context | metadata: Map.merge(metadata, facts)}
end
