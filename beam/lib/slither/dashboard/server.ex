defmodule Slither.Dashboard.Server do
  @moduledoc false
  # The process that a dashboard is: it owns the web server, and has things made for viewers, each
  # once for all who ask for it at a time, and none while nobody does. It never waits for one.
  # Once it is up, nothing that befalls its web server ends it, and with it anything of the program.

  use GenServer

  require Logger

  alias Slither.Dashboard.{Gate, Httpd, Makers, Once, Options}

  # ms until it listens again, where the web server has ended.
  @again 1_000

  defmodule State do
    @moduledoc false
    # What the server knows: where it listens, what is made, and for whom. The token is in a function, as
    # no crash report is to show it.
    @enforce_keys [:options, :handler, :token]
    defstruct [:options, :handler, :token, :httpd, :port, once: %Once{}]

    @type t :: %__MODULE__{
            options: Options.t(),
            handler: module,
            token: (() -> String.t() | nil),
            httpd: pid | nil,
            port: :inet.port_number(),
            once: Once.t()
          }
  end

  @doc "Starts it, with the module that answers requests; an error where it can't listen."
  @spec start_link(Options.t(), module) :: GenServer.on_start()
  def start_link(options, handler),
    do: GenServer.start_link(__MODULE__, {options, handler}, name: options.name)

  @doc "The address of the page."
  @spec url(GenServer.server()) :: String.t()
  def url(server), do: GenServer.call(server, :url)

  @doc "What viewers get of a thing; called in the processes of their connections."
  @spec get(pid, term) :: Makers.made()
  def get(server, key) do
    GenServer.call(server, {:get, key}, :infinity)
  catch
    :exit, _reason -> {:error, {503, "The program ends."}}
  end

  @impl true
  def init({options, handler}) do
    Process.flag(:trap_exit, true)

    case listen(state(options, handler)) do
      {:ok, state} ->
        tell(state)
        {:ok, state}

      {:error, error} ->
        {:stop, error}
    end
  end

  defp state(%{token: token} = options, handler),
    do: %State{options: %{options | token: nil}, handler: handler, token: fn -> token end}

  # A token that was made stands nowhere else.
  defp tell(%State{options: %{tell: false}}), do: :ok

  defp tell(state) do
    level = if state.options.made, do: :warning, else: :notice
    Logger.log(level, ["dashboard: ", address(state)])
  end

  defp listen(%State{options: options, handler: handler} = state) do
    server = self()
    options = %{options | token: state.token.()}
    facts = &%{gate: Gate.new(options, &1), server: server, slow: options.slow}

    with {:ok, httpd, port} <- Httpd.start(options, handler, facts),
         do: {:ok, %{state | httpd: httpd, port: port}}
  end

  @impl true
  def handle_call(:url, _from, state), do: {:reply, address(state), state}

  def handle_call({:get, key}, from, state) do
    case Once.ask(state.once, key, from) do
      {:made, made} -> {:reply, made, state}
      {:wait, once} -> {:noreply, %{state | once: once}}
      :make -> {:noreply, make(state, key, from)}
      :busy -> {:reply, {:error, {503, "Too much is asked for at once; ask again."}}, state}
    end
  end

  defp make(%State{options: options} = state, key, from) do
    makers = options.makers
    {pid, ref} = spawn_monitor(Makers, :hand, [key, makers])
    Process.send_after(self(), {__MODULE__, :late, ref}, options.patience)
    %{state | once: Once.begun(state.once, key, ref, pid, from)}
  end

  @impl true
  def handle_info({:DOWN, ref, :process, _pid, reason}, state) do
    made =
      case reason do
        {Makers, made} -> made
        :killed -> {:error, {504, "This took longer than #{state.options.patience} ms to tell."}}
        reason -> {:error, {500, "This could not be told: #{Exception.format_exit(reason)}"}}
      end

    {:noreply, made(state, ref, made)}
  end

  def handle_info({__MODULE__, :late, ref}, state) do
    with %{^ref => {_key, pid, _waiters}} <- state.once.making, do: Process.exit(pid, :kill)
    {:noreply, state}
  end

  # What nobody looks at any more is to lie nowhere in memory.
  def handle_info({__MODULE__, :stale, key}, state),
    do: {:noreply, %{state | once: Once.forget(state.once, key)}, :hibernate}

  def handle_info({:EXIT, httpd, reason}, %State{httpd: httpd} = state) do
    Logger.warning(["dashboard: its web server has ended: ", Exception.format_exit(reason)])
    {:noreply, again(%{state | httpd: nil})}
  end

  # Of a start that failed.
  def handle_info({:EXIT, _pid, _reason}, state), do: {:noreply, state}

  def handle_info({__MODULE__, :again}, %State{options: options} = state) do
    same = %{state | options: %{options | ports: [state.port]}}

    case listen(same) do
      {:ok, state} -> {:noreply, state}
      {:error, _error} -> {:noreply, again(state)}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp again(state) do
    Process.send_after(self(), {__MODULE__, :again}, @again)
    state
  end

  defp made(state, ref, made) do
    case Once.ended(state.once, ref) do
      nil ->
        state

      {key, _pid, waiters, once} ->
        Enum.each(waiters, &GenServer.reply(&1, made))
        %{state | once: keep(once, key, made, state.options)}
    end
  end

  # A stack is asked for by a person, who wants the one of now.
  defp keep(once, {:stack, _pool, _worker}, _made, _options), do: once

  defp keep(once, key, made, options) do
    Process.send_after(self(), {__MODULE__, :stale, key}, options.fresh)
    Once.keep(once, key, made)
  end

  defp address(%State{options: options, port: port} = state) do
    ip = options.ip
    name = :inet.ntoa(ip)
    host = if tuple_size(ip) == 8, do: "[#{name}]", else: "#{name}"
    # One that the user gave is not written into a log.
    query = if options.made, do: "?token=#{state.token.()}", else: ""
    "http://#{host}:#{port}/#{query}"
  end

  @impl true
  def terminate(_reason, %State{httpd: httpd}) do
    if httpd, do: Httpd.stop(httpd)
  end
end
