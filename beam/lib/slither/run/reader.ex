defmodule Slither.Run.Reader do
  @moduledoc false
  # A stream's results go to the process that began to read it. Another that goes on with it would
  # wait for what never comes, so it is told.

  alias Slither.{Error, Guarded}

  @doc "Raises in any process but the one that began the stream."
  @spec check!(pid, String.t()) :: :ok
  def check!(owner, _where) when owner == self(), do: :ok

  def check!(owner, where) do
    raise Error,
      reason: :other_process,
      where: where,
      message:
        "this stream was begun by #{inspect(owner)}; #{inspect(self())} can't go on with it",
      hint: "begin and read the whole stream in one process, and send its results on from there"
  end

  @doc "Closes what the stream holds, as far as that can be done from the calling process."
  @spec close(pid, (() -> any)) :: :ok
  def close(owner, close) do
    # Monitors, above all, can be taken back only by who has them.
    if owner == self(),
      do: close.(),
      else: Guarded.call("closing", close, reason: :other_process)

    :ok
  end
end
