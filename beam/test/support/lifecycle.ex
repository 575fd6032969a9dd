defmodule Slither.Test.Lifecycle do
  @moduledoc false
  # For tests of how workers come and go: pools whose Python code changes, and load that goes on.

  import Slither.Test.Pools

  alias Slither.Dispatch
  alias Slither.Python.Pool

  @doc "Runs one item through a function of `lifecycle_handlers`."
  @spec run(Pool.name(), String.t(), term, keyword) :: {:ok, term} | {:error, Exception.t()}
  def run(pool, function, payload, options \\ []),
    do: call(pool, function, payload, [module: "lifecycle_handlers"] ++ options)

  @doc "Options for a dispatch to a function of `lifecycle_handlers`."
  @spec opts(Pool.name(), String.t(), keyword) :: keyword
  def opts(pool, function, options),
    do: options(pool, function, [module: "lifecycle_handlers"] ++ options)

  @doc "What a pool does."
  @spec status(Pool.name()) :: map
  def status(pool) do
    {:ok, status} = Pool.status(pool)
    status
  end

  @doc "Its workers of a status."
  @spec workers(Pool.name(), atom) :: [map]
  def workers(pool, status), do: for(%{status: ^status} = w <- status(pool).workers, do: w)

  @doc "The OS pids of those."
  @spec os_pids(Pool.name(), atom) :: [pos_integer]
  def os_pids(pool, status), do: for(worker <- workers(pool, status), do: worker.os_pid)

  @doc "Looks until it is so, or the test's own time is over."
  @spec await((() -> as_boolean(term))) :: term
  def await(fun), do: fun.() || await(fun)

  @doc "A folder of the test's own with a module of a text; see `write_module/3`."
  @spec own_module(String.t(), String.t()) :: Path.t()
  def own_module(name, text) do
    folder = Path.dirname(path("x"))
    write_module(folder, name, text)
    folder
  end

  @doc """
  Writes a module anew. Python keeps what it compiled by size and second: each text gets a size of
  its own.
  """
  @spec write_module(Path.t(), String.t(), String.t()) :: :ok
  def write_module(folder, name, text) do
    size = System.unique_integer([:positive, :monotonic])

    File.write!(Path.join(folder, name <> ".py"), [text, "\n#", String.duplicate("#", size), "\n"])
  end

  @doc "A dispatch of single items that goes on until `stop_endless/1`."
  @spec endless(Pool.name(), String.t(), keyword) :: {:atomics.atomics_ref(), Task.t()}
  def endless(pool, function, options) do
    stop = :atomics.new(1, [])
    options = options(pool, function, [batch_size: 1] ++ options)

    task =
      Task.async(fn ->
        Stream.repeatedly(fn -> 0 end)
        |> Stream.take_while(fn _ -> :atomics.get(stop, 1) == 0 end)
        |> Dispatch.stream(options)
        |> Enum.map(& &1.payload)
      end)

    {stop, task}
  end

  @doc "Ends it; all its results."
  @spec stop_endless({:atomics.atomics_ref(), Task.t()}) :: [term]
  def stop_endless({stop, task}) do
    :atomics.put(stop, 1, 1)
    Task.await(task, patience())
  end
end
