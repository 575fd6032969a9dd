defmodule Slither.Python.Handshake do
  @moduledoc false
  # The first frames of a connection: `hello` and `welcome`, before
  # `ready` or `failed`. The side that was started says hello: Python
  # to a pool, BEAM to a driver. Pure; called by owners of connections.

  alias Slither.Blob.Server
  alias Slither.Protocol.Frame
  alias Slither.Python.{Secret, Sources}
  alias Slither.Trace.Exporter

  # How many results a handler that yields may be ahead of their reader.
  @ahead 16
  # How many log frames and reports of progress a worker may send before it gets more credit.
  @credits 200

  @doc "How many results a handler may be ahead of whoever takes them."
  @spec ahead() :: pos_integer
  def ahead, do: @ahead

  @doc "Whether a peer that speaks a version of the protocol is understood."
  @spec understood?(non_neg_integer) :: boolean
  def understood?(version), do: version == Frame.version()

  @doc "What BEAM says to a driver first."
  @spec hello() :: tuple
  def hello do
    facts = %{
      "slither" => to_string(Application.spec(:slither, :vsn)),
      "elixir" => System.version(),
      "otp" => System.otp_release(),
      "pid" => String.to_integer(System.pid())
    }

    {:hello, Frame.version(), facts}
  end

  @doc """
  What BEAM answers a worker's hello: what it is, how its pool is set, and which memory of the
  worker's it has `opened`.
  """
  @spec welcome(map, non_neg_integer, %{marker: boolean, stacks: boolean}) :: tuple
  def welcome(settings, slot, opened) do
    {:welcome, Frame.version(),
     %{
       "pool" => to_string(settings.name),
       "worker" => slot,
       "max_frame" => settings.max_frame,
       "preload" => settings.preload,
       "paths" => settings.paths,
       "credits" => @credits,
       "ahead" => @ahead,
       "capture" => settings.capture,
       "log_level" => Atom.to_string(settings.log_level),
       "main" => settings.main,
       "argv" => settings.argv,
       "initializer" => settings.initializer,
       "secret" => Secret.to_wire(settings.secret),
       "blobs" => Server.folder(),
       "marker" => opened.marker,
       "stacks" => opened.stacks,
       "spans" => Exporter.takes?(),
       "rlimits" => settings.rlimits,
       "watch" => settings.sources && Sources.changed(settings.sources)
     }}
  end

  @doc "What BEAM answers a template's: its workers come in at a `door`."
  @spec welcome_template(map, String.t(), %{marker: boolean, stacks: boolean}) :: tuple
  def welcome_template(settings, door, opened) do
    {:welcome, version, facts} = welcome(settings, 0, opened)
    {:welcome, version, facts |> Map.delete("worker") |> Map.put("template", door)}
  end
end
