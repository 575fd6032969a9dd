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

  @doc "Starts the process of the worker in a slot, by the pool's settings."
  @callback launch(settings :: map, slot :: non_neg_integer) ::
              {:ok, Launched.t()} | {:error, Error.t()}

  @doc "Why a process may have ended before it said anything."
  @callback explain(Launched.t()) :: String.t()
end
