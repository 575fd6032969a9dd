defmodule Slither.Python.Part do
  @moduledoc false
  # Results that a handler has yielded while its call goes on. A lane makes it; it goes to the
  # inbox of who asked, through `Slither.Python.Inbox.tell/2`.

  alias Slither.Python.Outcome

  @enforce_keys [:values, :errors, :bytes]
  defstruct [:values, :errors, :bytes]

  @typedoc """
  The values of the call's next items, errors by their index in this part, and the bytes that it
  took on the wire. Where items have many values, both are as in `Slither.Python.Outcome`.
  """
  @type t :: %__MODULE__{
          values: [term],
          errors: Outcome.errors(),
          bytes: non_neg_integer
        }
end
