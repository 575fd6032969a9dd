defmodule Slither.Test.Telemetry do
  @moduledoc false

  @doc "Sends events to the calling test, as `{:event, name, measurements, metadata}`."
  def listen(events) do
    test = self()
    id = {__MODULE__, make_ref()}
    :ok = Slither.Telemetry.attach(id, events, &__MODULE__.forward/4, test)
    ExUnit.Callbacks.on_exit(fn -> Slither.Telemetry.detach(id) end)
  end

  @doc "The same, for what the test's own process emits: other tests share the pool."
  def listen_own(events) do
    test = self()
    id = {__MODULE__, make_ref()}
    :ok = Slither.Telemetry.attach(id, events, &__MODULE__.forward_own/4, test)
    ExUnit.Callbacks.on_exit(fn -> Slither.Telemetry.detach(id) end)
  end

  def forward_own(event, measurements, metadata, test) do
    if self() == test, do: forward(event, measurements, metadata, test)
  end

  def forward(event, measurements, metadata, test),
    do: send(test, {:event, event, measurements, metadata})
end
