defmodule Slither.Python.Template.Brood do
  @moduledoc false
  # What a template was asked to fork, and what has become of it. Pure, of
  # `Slither.Python.Template`. A worker is handed over once two things are known, in whatever order
  # they come: its pid, which the template tells, and that it has come in at the door.

  defstruct next: 1, asked: %{}, children: %{}, came: %{}

  @typedoc "Who has asked, and by which reference he knows the answer."
  @type who :: {pid, reference}
  @typedoc """
  `asked` are forks by their calls, `children` those that live, by pid: each with its call, and who
  has asked while it has not come in. `came` has what came in before its pid was told.
  """
  @type t :: %__MODULE__{
          next: pos_integer,
          asked: %{optional(pos_integer) => who},
          children: %{optional(pos_integer) => %{call: pos_integer, who: who, in?: boolean}},
          came: %{optional(pos_integer) => term}
        }

  @doc "Somebody asks for a fork: by which call."
  @spec ask(t, who) :: {pos_integer, t}
  def ask(%__MODULE__{next: call} = brood, who),
    do: {call, %{brood | next: call + 1, asked: Map.put(brood.asked, call, who)}}

  @doc "Whether a fork has not been answered."
  @spec asked?(t, pos_integer) :: boolean
  def asked?(brood, call), do: is_map_key(brood.asked, call)

  @doc "A worker was forked; what is handed over, if it has come in. `:error` for one nobody asked for."
  @spec forked(t, pos_integer, pos_integer) :: {:ok, {who, term} | nil, [term], t} | :error
  def forked(brood, call, os_pid) do
    case Map.pop(brood.asked, call) do
      {nil, _asked} ->
        :error

      {who, asked} ->
        {thing, came} = Map.pop(brood.came, os_pid)
        child = %{call: call, who: who, in?: thing != nil}
        children = Map.put(brood.children, os_pid, child)
        brood = %{brood | asked: asked, children: children, came: came}
        {strangers, brood} = strangers(brood)
        {:ok, thing && {who, thing}, strangers, brood}
    end
  end

  @doc "A fork has failed."
  @spec failed(t, pos_integer) :: {who | nil, t}
  def failed(brood, call) do
    {who, asked} = Map.pop(brood.asked, call)
    {who, %{brood | asked: asked}}
  end

  @doc "A process has come in: to whom it is handed over, or it is kept, or it is a stranger."
  @spec came(t, pos_integer, term) :: {:give, who, t} | {:keep, t} | :stranger
  def came(brood, os_pid, thing) do
    case brood.children do
      %{^os_pid => %{in?: false} = child} ->
        {:give, child.who, put_in(brood.children[os_pid], %{child | in?: true})}

      %{^os_pid => _in} ->
        :stranger

      _unknown when brood.asked == %{} or is_map_key(brood.came, os_pid) ->
        :stranger

      _unknown ->
        {:keep, %{brood | came: Map.put(brood.came, os_pid, thing)}}
    end
  end

  @doc "A worker has ended, by the call that has asked for it: its pid, who has it, and whether it had come in."
  @spec ended(t, pos_integer) :: {{pos_integer, who, boolean} | nil, t}
  def ended(brood, call) do
    case Enum.find(brood.children, fn {_os_pid, child} -> child.call == call end) do
      nil ->
        {nil, brood}

      {os_pid, child} ->
        {{os_pid, child.who, child.in?}, %{brood | children: Map.delete(brood.children, os_pid)}}
    end
  end

  @doc "Whether a worker lives, as far as it is known."
  @spec lives?(t, pos_integer) :: boolean
  def lives?(brood, os_pid), do: is_map_key(brood.children, os_pid)

  @doc "Whether there is nothing left to wait for."
  @spec empty?(t) :: boolean
  def empty?(brood), do: brood.asked == %{} and brood.children == %{}

  # Whoever else is at the door was never forked here.
  defp strangers(%__MODULE__{asked: asked, came: came} = brood) when asked == %{},
    do: {Map.values(came), %{brood | came: %{}}}

  defp strangers(brood), do: {[], brood}
end
