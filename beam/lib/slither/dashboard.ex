defmodule Slither.Dashboard do
  @moduledoc """
  The page on which one sees what flows, what waits and what fails.

  It says in one sentence how things are, and below it what flows where, what waits, what each worker
  runs, what failed, and what happened. It is live, read-only, and one page without anything of other
  hosts; nothing is made for it while nobody looks. The same address has `/metrics` for Prometheus
  (see `Slither.Metrics`), `/snapshot` as JSON, and `/health`.

  There are several ways to it:

      config :slither, dashboard: [port: 4040]

  starts it with the application; `mix slither.dashboard` runs a project with it; and a supervisor of
  your own takes it as a child:

      children = [{Slither.Dashboard, port: 4040}]

  In Python, `slither.Beam(dashboard=True)` and `slither run --dashboard` have it.

  It listens on loopback, for every user of the machine. On another address it takes a token, which
  is made and told in the log where none is given. A browser opens the address with `?token=…` once,
  and has a cookie from then on; others send `Authorization: Bearer …`.

      config :slither, dashboard: [port: 4040, ip: "0.0.0.0", token: System.fetch_env!("TOKEN")]

  It speaks plain HTTP: on a network that others read, put a proxy with TLS before it, or look
  through a tunnel (`ssh -L 4040:localhost:4040 host`).

  It is served by `inets`, a part of Erlang/OTP. Debian has that as `erlang-inets`; a release has it if
  `extra_applications` of its `mix.exs` lists `:inets`.

  ## Options

  `config :slither, dashboard: true` takes the defaults.

  #{Slither.Options.docs(Slither.Dashboard.Options.table())}
  """

  alias Slither.Dashboard.{Handler, Options, Server}

  @doc "The child of a supervisor."
  @spec child_spec(keyword | true | :inet.port_number()) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if is_list(options), do: Keyword.get(options, :name, __MODULE__), else: __MODULE__
    %{id: name, start: {__MODULE__, :start_link, [options]}}
  end

  @doc """
  Starts a dashboard.

  Gives an error where an option is wrong, where the port is taken or the address not this machine's,
  and where Erlang comes without `inets`.
  """
  @spec start_link(keyword | true | :inet.port_number()) ::
          {:ok, pid} | {:error, Slither.Error.t() | {:already_started, pid}}
  def start_link(options \\ []) do
    with {:ok, options} <- Options.check(options), do: start(options)
  end

  @doc false
  # With options that are checked, as a driver's are.
  @spec start(Options.t()) :: {:ok, pid} | {:error, Slither.Error.t() | {:already_started, pid}}
  def start(options),
    do: Server.start_link(%{options | name: options.name || __MODULE__}, Handler)

  @doc false
  # Why one did not start, for a person: what a supervisor says of it, or it itself.
  @spec told(term) :: String.t()
  def told({%Slither.Error{} = error, _child}), do: told(error)
  def told(%Slither.Error{} = error), do: Exception.message(error)
  def told(reason), do: "dashboard: #{Exception.format_exit(reason)}"

  @doc """
  The address of a dashboard's page, with the token if one was made for it.

      {:ok, _pid} = Slither.Dashboard.start_link(port: 4040)
      Slither.Dashboard.url()
      #=> "http://127.0.0.1:4040/"
  """
  @spec url(GenServer.server()) :: String.t()
  def url(dashboard \\ __MODULE__), do: Server.url(dashboard)
end
