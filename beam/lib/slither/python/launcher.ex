defmodule Slither.Python.Launcher do
  @moduledoc false
  # How the process of a worker comes to be. A worker's owner calls it, and owns what it returns.

  alias Slither.Error
  alias Slither.Python.Transport

  defmodule Launched do
    @moduledoc false
    # What a launcher hands the worker's owner.
    @enforce_keys [:transport, :os_pid, :python]
    defstruct [:transport, :os_pid, :python, variables: []]

    @typedoc "A process that was started: the way to it, its pid, its interpreter and variables."
    @type t :: %__MODULE__{
            transport: Transport.t(),
            os_pid: pos_integer,
            python: String.t(),
            variables: [{charlist, charlist | false}]
          }
  end

  @typedoc "A start that was asked for; `event/2` reads the messages that tell of it."
  @type pending :: term
  @type answer :: {:ok, Launched.t()} | {:error, Error.t()} | {:later, pending}

  @doc "Starts the process of the worker in a slot, by the pool's settings, or asks for that."
  @callback launch(settings :: map, slot :: non_neg_integer | nil) :: answer

  @doc "What a message that the owner got says of what it waits for; `:none` where it is another's."
  @callback event(pending, message :: term) :: answer | :none

  @doc "Answers whoever asked where a worker is whose process was promised, as its owner would."
  @callback where(pending, GenServer.from()) :: term

  @doc "Why a process may have ended before it said anything."
  @callback explain(Launched.t()) :: String.t()

  @optional_callbacks event: 2, where: 2
end
