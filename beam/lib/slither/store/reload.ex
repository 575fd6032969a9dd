defmodule Slither.Store.Reload do
  @moduledoc false
  # A reload that goes on: the builder that loads, who waits for it, and what was written since it
  # began. A value of the store's owner, which alone calls this.

  alias Slither.Store.{Boot, Builder, Config, Table}

  @enforce_keys [:pid, :ref, :from]
  defstruct [:pid, :ref, :from, replay: []]

  @typedoc "`pid` and `ref` are the builder's; `replay` holds what to write again, the last first."
  @type t :: %__MODULE__{
          pid: pid,
          ref: reference,
          from: [GenServer.from()],
          replay: [{table :: atom, [Table.effect()]}]
        }

  @doc "Has the tables loaded anew, all but durable ones: the log is the truth of those."
  @spec begin(Config.t(), [GenServer.from()]) :: t
  def begin(config, from) do
    kept = for table <- Boot.durable(config.tables), do: table.name
    {pid, ref} = Builder.start(config.module, config.tables, kept)
    %__MODULE__{pid: pid, ref: ref, from: from}
  end

  @doc "Keeps a write, if a reload goes on that replaces its table."
  @spec remember(t | nil, Table.t(), atom, [Table.effect()]) :: t | nil
  def remember(nil, _table, _kind, _effects), do: nil
  def remember(reload, %{durable: true}, _kind, _effects), do: reload
  # A row that has expired in the old table may be fresh in the loaded one.
  def remember(reload, _table, :expire, _effects), do: reload

  def remember(reload, %{name: name}, _kind, effects),
    do: %{reload | replay: [{name, effects} | reload.replay]}

  @doc "Puts the writes that were kept over the new tables, in order, before anybody sees these."
  @spec replay(t, %{atom => Table.t()}) :: :ok
  def replay(reload, tables) do
    for {name, effects} <- Enum.reverse(reload.replay),
        effect <- effects,
        do: Table.apply_effect(Map.fetch!(tables, name), effect)

    :ok
  end

  @doc "Answers all who wait for it."
  @spec reply(t, term) :: :ok
  def reply(reload, answer), do: Enum.each(reload.from, &GenServer.reply(&1, answer))
end
