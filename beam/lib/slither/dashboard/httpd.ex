defmodule Slither.Dashboard.Httpd do
  @moduledoc false
  # OTP's own web server, as the dashboard has it: on one address, with no files to give, and with
  # limits for whatever strangers send. The dashboard's server calls it, and is linked to what it
  # starts. The application `inets` need not run, nor be among those of the program.

  alias Slither.Dashboard.{Headers, Options}
  alias Slither.{Error, OTP}

  # Bytes of an address and of all headers. A request has no body.
  @uri 2_048
  @headers 16_384
  # Seconds that a request may take to come in. One that comes slower than that many bytes in a second
  # is dropped before.
  @seconds 10
  @slowest 100
  # ms that its end may take.
  @ending 3_000

  @doc """
  Listens on the first of the ports that is free. `handler` is the module that answers, and `facts`
  gives what `facts/1` tells it. `root` is where Erlang is.
  """
  @spec start(Options.t(), module, (:inet.port_number() -> map), charlist) ::
          {:ok, pid, :inet.port_number()} | {:error, Error.t()}
  def start(options, handler, facts, root \\ :code.root_dir()) do
    if OTP.found?(:inets, root),
      do: first(options.ports, options, {handler, facts}),
      else: {:error, missing()}
  end

  @doc "Stops it, and with it all connections; it listens no more then."
  @spec stop(pid) :: :ok
  def stop(pid) do
    monitor = Process.monitor(pid)
    # It tells it to end, and waits for nothing.
    :inets.stop(:stand_alone, pid)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    after
      @ending ->
        Process.exit(pid, :kill)
        :ok
    end
  end

  @doc "What the dashboard told `start/2`, for whoever serves a request of it."
  @spec facts(term) :: map
  def facts(config), do: :httpd_util.lookup(config, :slither)

  defp first([port | ports], options, answers) do
    with {:ok, free} <- probe(options.ip, port),
         {:ok, pid} <- listen(free, options, answers) do
      {:ok, pid, free}
    else
      {:error, :eaddrinuse} when ports != [] -> first(ports, options, answers)
      {:error, reason} -> {:error, taken(reason, port, options)}
    end
  end

  # Before httpd does, which says in a log what it can't do, and names no port where any will do.
  defp probe(ip, port) do
    family = if tuple_size(ip) == 8, do: [:inet6, ipv6_v6only: true], else: [:inet]

    with {:ok, socket} <- :gen_tcp.listen(port, [ip: ip, reuseaddr: true] ++ family) do
      {:ok, free} = :inet.port(socket)
      :ok = :gen_tcp.close(socket)
      {:ok, free}
    end
  end

  defp listen(port, options, {handler, facts}) do
    config = [
      port: port,
      bind_address: options.ip,
      ipfamily: if(tuple_size(options.ip) == 8, do: :inet6, else: :inet),
      server_name: ~c"slither",
      # It wants folders that are there. None of its modules that read files is among ours.
      server_root: ~c"/",
      document_root: ~c"/",
      modules: [handler],
      customize: Headers,
      server_tokens: :none,
      keep_alive: false,
      minimum_bytes_per_second: @slowest,
      max_clients: options.max_clients,
      max_uri_size: @uri,
      max_header_size: @headers,
      max_body_size: 1,
      slither: facts.(port)
    ]

    with {:ok, pid} <- :inets.start(:httpd, [limit() | config], :stand_alone) do
      # What it does not understand it writes into the log, and goes on without.
      if Supervisor.which_children(pid) == [] do
        :ok = stop(pid)
        {:error, :misunderstood}
      else
        {:ok, pid}
      end
    else
      {:error, reason} -> {:error, why(reason)}
    end
  end

  # Former releases have one time for both, later ones take none for connections that are not kept.
  defp limit do
    if System.otp_release() in ["25"],
      do: {:keep_alive_timeout, @seconds},
      else: {:request_timeout, @seconds}
  end

  # The link tells of a start that failed, too.
  defp why(reason) do
    text = inspect(reason, limit: :infinity)
    if text =~ ~r/eaddrinuse|already_started/, do: :eaddrinuse, else: reason
  end

  defp taken(reason, port, options) do
    place = "#{:inet.ntoa(options.ip)}:#{port}"

    {message, hint} =
      case {reason, options.named} do
        {:eaddrinuse, true} ->
          {"port #{port} is taken", "name another, or none for the next that is free"}

        {:eaddrinuse, false} ->
          range = "#{hd(options.ports)} to #{List.last(options.ports)}"
          {"the ports #{range} are all taken", "name another; port 0 is any that is free"}

        {:eacces, _named} ->
          {"this user may not listen on #{place}", "ports from 1024 on are free for all"}

        {:eaddrnotavail, _named} ->
          {"this machine has no address #{:inet.ntoa(options.ip)}", nil}

        {reason, _named} ->
          {"it can't listen on #{place}: #{inspect(reason)}", nil}
      end

    %Error{
      reason: :dashboard_unavailable,
      message: message,
      where: "dashboard",
      hint: hint,
      details: %{port: port}
    }
  end

  @doc "The error where this Erlang comes without a web server."
  @spec missing() :: Error.t()
  def missing do
    %Error{
      reason: :dashboard_unavailable,
      message: "it is served by inets, a part of Erlang/OTP that is not here",
      where: "dashboard",
      hint:
        "Debian and Ubuntu: apt install erlang-inets; a release: " <>
          "add :inets to extra_applications in mix.exs"
    }
  end
end
