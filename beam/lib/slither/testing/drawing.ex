defmodule Slither.Testing.Drawing do
  @moduledoc false
  # Draws the values of enumerables that functions gave in place of Python, chunk by chunk, as a
  # worker draws from generators. Pure but for the user's enumerables; `Slither.Testing.Functions`
  # calls it, in the process that runs a call.

  alias Slither.Error
  alias Slither.Python.Lane.Entries

  # As in a worker: values of a chunk, and ms after its first value.
  @most 1_000
  @patience 20

  @type source_of :: {:whole, Enumerable.t()} | {:rest, fun} | {:failed, Error.t()}
  @typedoc "An item's place, and what gives its values: an enumerable, or the rest of one."
  @type source :: {index :: non_neg_integer, source_of}

  @enforce_keys [:cross, :raised]
  defstruct @enforce_keys

  @typedoc "What a value is on the other side of the wire, and the error of an exception."
  @type t :: %__MODULE__{
          cross: (term -> {:ok, term} | {:error, Error.t()}),
          raised: (Exception.t(), Exception.stacktrace() -> Error.t())
        }

  @doc "The next entries of sources, one at least, and the sources that are left."
  @spec draw([source], t) :: {[Entries.entry()], [source]}
  def draw(sources, how), do: draw(sources, how, @most, nil, [])

  defp draw([], _how, _room, _until, entries), do: {Enum.reverse(entries), []}

  defp draw([{index, source} | sources], how, room, until, entries) do
    case values(source, how, {room, until}, []) do
      {:ended, values, error, until} ->
        entry = entry({index, true, values, error}, how)
        draw(sources, how, room - length(values), until, [entry | entries])

      {:open, values, rest} ->
        case entry({index, false, values, nil}, how) do
          {_index, true, _values, _error} = failed -> {Enum.reverse([failed | entries]), sources}
          entry -> {Enum.reverse([entry | entries]), [{index, {:rest, rest}} | sources]}
        end
    end
  end

  # A value that can't cross ends its item, as an exception does.
  defp entry({index, ended?, values, error}, how) do
    case Enum.split_while(Enum.map(values, how.cross), &match?({:ok, _value}, &1)) do
      {crossed, []} -> {index, ended?, Enum.map(crossed, &elem(&1, 1)), error}
      {crossed, [unsent | _]} -> {index, true, Enum.map(crossed, &elem(&1, 1)), elem(unsent, 1)}
    end
  end

  # One value at a time, so that those before an exception stand.
  defp values(source, how, {room, until}, values) do
    case step(source, how) do
      {:value, value, rest} ->
        until = until || now() + @patience
        values = [value | values]

        if room <= 1 or now() >= until,
          do: {:open, Enum.reverse(values), rest},
          else: values({:rest, rest}, how, {room - 1, until}, values)

      {:ended, error} ->
        {:ended, Enum.reverse(values), error, until}
    end
  end

  defp step({:failed, error}, _how), do: {:ended, error}

  defp step(source, how) do
    case reduce(source, {:cont, nil}) do
      {:suspended, {:value, value}, rest} -> {:value, value, rest}
      {_done_or_halted, _nothing} -> {:ended, nil}
    end
  rescue
    error in Error -> {:ended, error}
    exception -> {:ended, how.raised.(exception, __STACKTRACE__)}
  end

  defp reduce({:whole, enumerable}, acc), do: Enumerable.reduce(enumerable, acc, &take/2)
  defp reduce({:rest, rest}, acc), do: rest.(acc)

  defp take(value, _before), do: {:suspend, {:value, value}}

  @doc "Closes what is left: what a stream does at its end runs."
  @spec close([source]) :: :ok
  def close(sources) do
    for {_index, {:rest, rest}} <- sources, do: rest.({:halt, nil})
    :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
