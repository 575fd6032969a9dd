defmodule Slither.Gather do
  @moduledoc """
  One Python function, many callers: their items go to a worker together.

  A web application has hundreds of processes that each want one embedding; a model takes about as
  long for one as for thirty-two. A gather is a process that they all call. It makes batches of what
  they ask for, and gives each caller its own answer:

      # in your supervision tree
      {Slither.Gather, name: :embed, module: "my_model", function: "embed_batch"}

      # in any process
      {:ok, vector} = Slither.Gather.call(:embed, "some text")

  The function takes a list of items and returns a list of as many results. With `each: true` it takes
  one item, and its calls share the way to Python and back.

  ## When a batch goes

    * An item goes at once while fewer batches are out than the pool has workers.
    * Else it waits for an answer to come, and others join it. `max_batch` items go without waiting.
    * After `max_wait` ms the pool is asked for a worker, busy or not. What comes until a worker has
      room still joins.

  So nobody waits for company where a worker is free, and the busier the workers, the larger the
  batches. `key:` keeps items apart that can't go together, such as tensors of different shapes:

      {Slither.Gather, name: :embed, module: "my_model", function: "embed_batch", key: &length/1}

  ## What a caller gets

  `call/3` returns `{:ok, value}` or `{:error, error}`. An item that fails fails its own caller alone:
  a batch that fails as a whole is split until the items at fault are alone, as in a dispatch with
  `isolate: true`. A caller has its own deadline; an item whose caller has given up or ended is
  taken out unless it is with a worker already, and a batch that nobody waits for any more is
  cancelled. When the gather or its pool ends, each caller gets an error.

  ## Options

  #{Slither.Options.docs(Slither.Gather.Settings.table())}

  Gathers can stand in the configuration too, by name; they start after the pools:

      config :slither, gathers: [embed: [module: "my_model", function: "embed_batch"]]
  """

  alias Slither.{Error, Guarded, Leftovers}
  alias Slither.Gather.{Server, Settings}

  @registry Slither.Python.Registry

  # The longest time that the VM waits for a message.
  @longest 0xFFFFFFFF

  @type name :: term

  @doc "A child specification, so that gathers can stand under any supervisor."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if Keyword.keyword?(options), do: options[:name]
    %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc """
  Starts a gather, linked to the caller. Returns `{:error, error}` for options that it can't use, and
  `{:error, {:already_started, pid}}` where one of its name runs.

  Its pool need not run yet: calls get `:unknown_pool` until it does.
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, Error.t() | {:already_started, pid}}
  def start_link(options) do
    with {:ok, options} <- Settings.check(options) do
      name = {:gather, options[:name]}
      :ok = Leftovers.await(@registry, [name])
      # Callers read the key's function where they find the gather, and run it themselves.
      Server.start_link(options, {:via, Registry, {@registry, name, options[:key]}})
    end
  end

  @doc """
  An item's answer: `{:ok, value}` with what Python made of it, or `{:error, error}`.

  Waits for at most `timeout` ms, 5,000 unless given, or `:infinity`; the error's reason is `:timeout`
  then. It is `:saturated` where too many items wait, `:gather_unavailable` where no gather of that
  name runs or it ended meanwhile, and else what a call of the pool can give, such as
  `:python_exception` or `:worker_died`.

      {:ok, vector} = Slither.Gather.call(:embed, "some text")
      {:error, %Slither.Error{reason: :timeout}} = Slither.Gather.call(:embed, "a long text", 10)
  """
  @spec call(name, term, timeout) :: {:ok, term} | {:error, Error.t()}
  def call(name, item, timeout \\ 5_000)

  def call(name, item, timeout)
      when timeout == :infinity or (is_integer(timeout) and timeout in 0..@longest) do
    with {:ok, server, key} <- find(name),
         {:ok, key} <- key(key, item),
         do: ask(name, server, key, item, timeout)
  end

  def call(_name, _item, timeout) do
    message =
      "timeout takes milliseconds (0 to #{@longest}) or :infinity, got #{inspect(timeout)}"

    {:error, %Error{reason: :invalid_option, where: "Slither.Gather.call/3", message: message}}
  end

  defp ask(name, server, key, item, timeout) do
    Server.call(server, key, item, timeout)
  catch
    :exit, {:timeout, {GenServer, :call, _arguments}} ->
      Server.forget(server)
      {:error, late(name, timeout)}

    :exit, {reason, {GenServer, :call, _arguments}} ->
      {:error, unavailable(name, "ended before it answered: #{Exception.format_exit(reason)}")}
  end

  defp key(nil, _item), do: {:ok, nil}

  defp key(fun, item),
    do: Guarded.call("the gather's key function", fn -> fun.(item) end, reason: :key_failed)

  @doc """
  As `call/3`, raising the error.

      vector = Slither.Gather.call!(:embed, "some text")
  """
  @spec call!(name, term, timeout) :: term
  def call!(name, item, timeout \\ 5_000) do
    case call(name, item, timeout) do
      {:ok, value} -> value
      {:error, error} -> raise error
    end
  end

  @doc """
  What a gather does now.

  A map of `name`, `pool`, `waiting` (items), `out` (batches) with `running` (items in them), and since
  it began: `batches` sent, and items `answered`, `failed` and `timed_out`.
  """
  @spec status(name) :: {:ok, map} | {:error, Error.t()}
  def status(name) do
    with {:ok, server, _key} <- find(name), do: {:ok, Server.status(server)}
  catch
    :exit, {reason, {GenServer, :call, _arguments}} ->
      {:error, unavailable(name, "ended before it answered: #{Exception.format_exit(reason)}")}
  end

  defp find(name) do
    # A process that has just ended may still be in the registry.
    with [{server, key}] <- Registry.lookup(@registry, {:gather, name}),
         true <- Process.alive?(server) do
      {:ok, server, key}
    else
      _ -> {:error, unavailable(name, "is not running")}
    end
  end

  defp unavailable(name, message) do
    known = Registry.select(@registry, [{{{:gather, :"$1"}, :_, :_}, [], [:"$1"]}])

    hint =
      if known == [],
        do: "start one: {Slither.Gather, name: #{inspect(name)}, module: …, function: …}",
        else: "running gathers: #{known |> Enum.sort() |> Enum.map_join(", ", &inspect/1)}"

    %Error{
      reason: :gather_unavailable,
      where: "gather #{inspect(name)}",
      message: message,
      hint: hint,
      details: %{gather: name}
    }
  end

  defp late(name, timeout) do
    %Error{
      reason: :timeout,
      where: "gather #{inspect(name)}",
      message: "gave no answer within #{timeout} ms",
      hint: "raise the timeout of Slither.Gather.call/3, add workers to its pool, or send less",
      details: %{gather: name, timeout: timeout}
    }
  end
end
