defmodule Slither.Stage do
  @moduledoc """
  A step of a pipe that runs on BEAM, as a module of your own.

      defmodule Normalize do
        @behaviour Slither.Stage
        @impl true
        def init(options), do: {:ok, %{form: options[:form] || :nfc}}
        @impl true
        def handle_item(item, _context, state),
          do: %{item.payload | "text" => String.normalize(item.payload["text"], state.form)}
      end

      stage :normalize, Normalize, form: :nfkc

  A handler returns the new payload, or one of

    * `{:ok, payload}`;
    * `{:many, payloads}`: any number of items in place of the one;
    * `{:skip, reason}`: the item is dropped, and counted as skipped;
    * `{:error, reason}`: the stage's error policy decides; so it does for exceptions;
    * `{:route, output, payload}`: the item leaves the pipe at that output, or goes on at the
      later stage of that name;
    * a `Slither.Item`, to change `meta` as well.

  A stage with `c:handle_batch/3` gets the items that arrive together, and returns a list of
  such answers, one for each.
  """

  alias Slither.{Context, Item}

  @type state :: term
  @type answer ::
          term
          | {:ok, term}
          | {:many, [term]}
          | {:skip, term}
          | {:error, term}
          | {:route, atom | String.t(), term}
          | Item.t()

  @doc "Called once when a run starts, with the stage's options."
  @callback init(options :: keyword) :: {:ok, state} | {:error, term}

  @doc "Handles one item."
  @callback handle_item(Item.t(), Context.t(), state) :: answer

  @doc "Handles the items that arrived together, in order."
  @callback handle_batch([Item.t(), ...], Context.t(), state) :: [answer]

  @doc "Called once when the run ends, however it ends."
  @callback shutdown(state) :: term

  @optional_callbacks handle_item: 3, handle_batch: 3, shutdown: 1
end
