defmodule Slither.Pool.Watcher do
  @moduledoc false
  # The process of a pool with `watch: true` that looks at the files which its workers have imported,
  # and restarts the pool when one has changed. The pool's supervisor starts it, last of all; nobody
  # sends to it. Workers tell of their files through `Slither.Python.Sources`, `Watcher.Look` decides.
  #
  # It waits for a restart. What changes meanwhile is seen at the next look, as workers say which
  # contents they have imported.

  use GenServer

  require Logger

  alias Slither.{Error, Label}
  alias Slither.Pool.{Handle, Scheduler, Settings}
  alias Slither.Pool.Watcher.Look
  alias Slither.Python.Sources
  alias Slither.Telemetry.Events

  # ms between two looks.
  @every 300
  # Seconds after which a file that was saved again would have another time of its last change; so
  # long after a change it is read at each look.
  @settled 2

  defstruct [:settings, look: %Look{}, known: %{}]

  @spec start_link(Settings.t()) :: GenServer.on_start()
  def start_link(%Settings{} = settings), do: GenServer.start_link(__MODULE__, settings)

  @impl true
  def init(settings) do
    Label.set({__MODULE__, settings.name})
    Logger.metadata(pool: settings.name)
    {:ok, again(%__MODULE__{settings: settings})}
  end

  @impl true
  def handle_info(:look, state), do: {:noreply, state |> look() |> again()}

  defp again(state) do
    Process.send_after(self(), :look, @every)
    state
  end

  defp look(%__MODULE__{settings: %{sources: sources}} = state) do
    {rows, gone} =
      sources
      |> Sources.rows()
      |> Enum.split_with(fn {owner, _, _, _} -> Process.alive?(owner) end)

    gone |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> Enum.each(&Sources.forget(sources, &1))
    look = gone |> Enum.reduce(state.look, &Look.ended(&2, &1)) |> Look.left(&Process.alive?/1)
    rows = Look.serving(look, rows)
    known = Map.new(Look.paths(look, rows), &{&1, version(&1, state.known[&1])})
    hold = Map.new(known, fn {path, {_seen, version}} -> {path, version} end)
    {decision, look} = Look.decide(look, rows, hold)
    act(decision, %{state | look: look, known: known})
  end

  # A file is read again only where something says that it may have changed.
  defp version(path, known) do
    seen = seen(path)

    case known do
      {^seen, version} when seen != nil -> {seen, version}
      _changed -> {seen, Sources.version(path)}
    end
  end

  # What the system says of a file; nil where that may stay the same though it is written.
  defp seen(path) do
    case :file.read_file_info(path, [:raw, time: :posix]) do
      {:ok, {:file_info, size, _, _, _, modified, changed, _, _, _, _, inode, _, _}} ->
        settled? = System.os_time(:second) - max(modified, changed) >= @settled
        if settled?, do: {size, modified, changed, inode}

      {:error, _gone} ->
        nil
    end
  end

  ## Restarts

  defp act(:wait, state), do: state

  defp act({:restart, changed, names}, %__MODULE__{settings: settings} = state) do
    case Registry.lookup(Slither.Python.Registry, settings.name) do
      [{_scheduler, %Handle{} = handle}] -> restart(handle, changed, names, state)
      # The pool's scheduler is just starting: the next look finds it.
      [] -> state
    end
  end

  defp restart(handle, changed, names, %__MODULE__{settings: settings} = state) do
    files = changed |> Map.keys() |> Enum.sort()
    began = System.monotonic_time()
    say(settings, :info, told(files) <> " changed: the workers are replaced" <> aside(settings))
    Sources.change(settings.sources, names)

    with {:ok, before} <- Scheduler.owners(handle),
         {:ok, done} <- Scheduler.change(handle, :restart) do
      Sources.change(settings.sources, [])
      look = after_restart(done, files, changed, before, state)
      facts = %{pool: settings.name, file: hd(files), files: files, error: error(done)}
      Events.pool_reloaded(began, facts)
      %{state | look: look}
    else
      # The pool stops.
      {:error, _stopped} -> state
    end
  end

  defp after_restart(:ok, _files, _changed, before, state), do: Look.restarted(state.look, before)

  defp after_restart({:error, error}, files, changed, _before, state) do
    say(
      state.settings,
      :error,
      "no worker can start with #{told(files)} as it is now, so those in service stay; the next " <>
        "change is tried again: #{Exception.message(error)}"
    )

    Look.refused(state.look, changed)
  end

  defp error(:ok), do: nil
  defp error({:error, %Error{} = error}), do: error

  # Of a Python program the log goes to itself, at whatever level.
  defp say(settings, level, text),
    do: Logger.log(level, "pool #{inspect(settings.name)}: #{text}", driver: true)

  # Only a pool of a Python program has runs that wait for each other.
  defp aside(%Settings{runs_wait?: true}),
    do: "; the program itself goes on with what it has imported"

  defp aside(_settings), do: ""

  defp told([file]), do: name(file)
  defp told([file, other]), do: "#{name(file)} and #{name(other)}"
  defp told([file | more]), do: "#{name(file)} and #{length(more)} more files"

  defp name(file) do
    name = Path.relative_to_cwd(file)
    if String.valid?(name), do: name, else: inspect(name)
  end
end
