defmodule Slither.Dashboard.Once do
  @moduledoc false
  # Pure ledger of what is made for viewers: many who ask for one thing at a time wait for the same
  # making of it, and what was made a moment ago serves those who come. The server of the dashboard
  # keeps it, and makes.

  # Things that are made at one time; further ones are refused.
  @most 16

  defstruct making: %{}, made: %{}, keys: %{}

  @type key :: term
  @type t :: %__MODULE__{
          making: %{optional(reference) => {key, pid, [term]}},
          made: %{optional(key) => term},
          keys: %{optional(key) => reference}
        }

  @doc "Somebody asks: it is there, it is being made, somebody is to make it, or too much is made."
  @spec ask(t, key, term) :: {:made, term} | {:wait, t} | :make | :busy
  def ask(%__MODULE__{} = once, key, waiter) do
    case once do
      %{made: %{^key => thing}} -> {:made, thing}
      %{keys: %{^key => ref}} -> {:wait, update_in(once.making[ref], &add(&1, waiter))}
      %{making: making} when map_size(making) >= @most -> :busy
      _free -> :make
    end
  end

  defp add({key, pid, waiters}, waiter), do: {key, pid, [waiter | waiters]}

  @doc "A process makes it, whose monitor `ref` is."
  @spec begun(t, key, reference, pid, term) :: t
  def begun(once, key, ref, pid, waiter) do
    %{
      once
      | making: Map.put(once.making, ref, {key, pid, [waiter]}),
        keys: Map.put(once.keys, key, ref)
    }
  end

  @doc "What `ref` made is there, or will never be: who waits for it."
  @spec ended(t, reference) :: {key, pid, [term], t} | nil
  def ended(once, ref) do
    case Map.pop(once.making, ref) do
      {nil, _making} ->
        nil

      {{key, pid, waiters}, making} ->
        {key, pid, waiters, %{once | making: making, keys: Map.delete(once.keys, key)}}
    end
  end

  @doc "Keeps what was made, for those who come."
  @spec keep(t, key, term) :: t
  def keep(once, key, thing), do: %{once | made: Map.put(once.made, key, thing)}

  @doc "Forgets what was kept."
  @spec forget(t, key) :: t
  def forget(once, key), do: %{once | made: Map.delete(once.made, key)}
end
