defmodule Slither.Python.Call do
  @moduledoc false
  # A call that is out at a worker, as the worker's owner knows it. The lane that makes the call
  # tells the owner, with `Slither.Python.Worker.Inbox.sent/2`, before it writes the frame.

  alias Slither.Protocol.Frame

  @enforce_keys [:id, :timeout, :batch, :head]
  defstruct [:id, :timeout, :batch, :head, :context, :named, :record, items: 1, given?: true] ++
              [attempt: 1, item_timeout: :infinity]

  @typedoc """
  `timeout` is the ms that it may run, `given?` whether somebody has said so; it is sent with so many
  `items`, and each may run for `item_timeout` ms. `context` is as in `Slither.Python.Job`; nil once
  nobody waits for the call, too. `named` is what it calls, where its head does not say so. `record` is
  how many bytes of what the call asks are recorded for the capture of a failure, nil for none.
  """
  @type t :: %__MODULE__{
          id: pos_integer,
          timeout: timeout,
          batch: non_neg_integer,
          head: binary,
          context: binary | nil,
          named: [String.t()] | nil,
          record: non_neg_integer | nil,
          items: pos_integer,
          given?: boolean,
          attempt: pos_integer,
          item_timeout: timeout
        }

  @doc "What it calls."
  @spec target(t) :: [String.t()]
  def target(%__MODULE__{named: nil, head: head}), do: Frame.call_target(head)
  def target(%__MODULE__{named: named}), do: named
end
