defmodule Slither.Protocol.Shapes do
  @moduledoc false
  # Keeps the keys that rows of tables share, once for the node. The decoder asks for them, in
  # whatever process it runs.
  #
  # No message and no garbage collection copies what stands in a persistent term. A handler's
  # results are sent from the process that decodes them to the one that collects them, and their
  # keys are half of what rows of small values weigh. As data brings the keys, there are places
  # for so many only. Nothing is ever replaced, since to replace a persistent term has every
  # process looked through.

  @places 256
  @most_bytes 512
  @counter {__MODULE__, :counter}

  @doc "Makes the places; without them, rows keep keys of their own."
  @spec init() :: :ok
  def init do
    if :persistent_term.get(@counter, nil) == nil,
      do: :persistent_term.put(@counter, :counters.new(1, []))

    :ok
  end

  @doc "A map that has the keys, all of them binaries, and the keys as they are in it."
  @spec template([binary]) :: {[binary], map}
  def template(keys) do
    template =
      :persistent_term.get({__MODULE__, keys}, nil) || place(keys, Map.from_keys(keys, nil))

    own = Map.keys(template)
    # A map finds a key faster by the very same term than by one that equals it.
    {for(key <- keys, do: Enum.find(own, &(&1 == key))), template}
  end

  defp place(keys, template) do
    counter = :persistent_term.get(@counter, nil)

    if counter != nil and :counters.get(counter, 1) < @places and
         IO.iodata_length(keys) <= @most_bytes do
      :counters.add(counter, 1, 1)
      :persistent_term.put({__MODULE__, keys}, template)
      :persistent_term.get({__MODULE__, keys})
    else
      template
    end
  end
end
