defmodule Slither.Test.Pools do
  @moduledoc false

  @handlers Path.expand("../python/handlers", __DIR__)

  @doc "Starts a pool under the test's supervisor, with the test handlers on its path."
  def start!(name, options \\ []) do
    options = Keyword.merge([name: name, size: 2, paths: [@handlers]], options)
    ExUnit.Callbacks.start_supervised!({Slither.Python.Pool, options})
    :ok = Slither.Python.Pool.await_ready(name)
    name
  end
end
