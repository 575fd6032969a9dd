defmodule Slither.Test.Telemetry do
  @moduledoc false

  @doc "Sends events to the calling test, as `{:event, name, measurements, metadata}`."
  def listen(events) do
    test = self()
    id = {__MODULE__, make_ref()}
    :ok = Slither.Telemetry.attach(id, events, &__MODULE__.forward/4, test)
    ExUnit.Callbacks.on_exit(fn -> Slither.Telemetry.detach(id) end)
  end

  def forward(event, measurements, metadata, test),
    do: send(test, {:event, event, measurements, metadata})
end
