defmodule Slither.Python.Transport do
  @moduledoc false
  # How frames go to a peer and come from it: over the pipes of a port, or a socket. Whoever opens
  # one owns it and gets its messages, which `event/2` reads; all may write to it.

  @typedoc "A struct of the module that implements it."
  @type t :: %{:__struct__ => module, optional(atom) => term}
  @typedoc """
  How the peer has ended: its exit status, nil where that is not known, or `:template` for one that has
  ended with the process that it was forked from.
  """
  @type status :: non_neg_integer | :template | nil
  @typedoc """
  What a message says of a transport. One that is `:closing`, which is as it is then, is closed once
  something else has come.
  """
  @type event :: {:frame, binary} | {:closing, t} | {:closed, status} | :none

  @callback write(t, iodata) :: boolean
  @callback offer(t, iodata) :: boolean
  @callback event(t, message :: term) :: event

  @doc "Writes a frame, waiting while the peer reads nothing; false where the transport is closed."
  @spec write(t, iodata) :: boolean
  def write(%module{} = transport, frame), do: module.write(transport, frame)

  @doc """
  Writes a frame unless that would have to wait, and says whether it did.

  For owners: one that waited for a peer could not enforce that peer's deadline.
  """
  @spec offer(t, iodata) :: boolean
  def offer(%module{} = transport, frame), do: module.offer(transport, frame)

  @doc "What a message that its owner got says of it; `:none` where it is another's."
  @spec event(t, term) :: event
  def event(%module{} = transport, message), do: module.event(transport, message)
end
