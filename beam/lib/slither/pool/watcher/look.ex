defmodule Slither.Pool.Watcher.Look do
  @moduledoc false
  # Decides whether files have changed so that the workers of a watched pool are to be replaced. Pure,
  # of `Slither.Pool.Watcher`, which tells it what workers have imported and what the files hold now.
  #
  # A file has changed when it holds something else than a worker has imported of it. It counts once it
  # is the same at two looks, as editors write in steps. One that is missing does not count: it is just
  # being written, or it is removed, and then the workers go on with what they have.

  alias Slither.Python.Sources

  defstruct leaving: MapSet.new(), gone: %{}, refused: %{}, pending: %{}

  @typep module_name :: String.t()
  @typep files :: %{optional(Sources.path()) => {Sources.version(), module_name}}

  @typedoc """
  Owners of workers that leave since the last restart are `leaving`: they run older code, as is known.
  `gone` is what workers had imported that ended since, some perhaps as they started. `refused` is what
  files held when the last restart failed, and `pending` what those that had changed held at the last
  look.
  """
  @type t :: %__MODULE__{
          leaving: MapSet.t(pid),
          gone: files,
          refused: files,
          pending: files
        }

  @doc "A worker that has told a row is gone."
  @spec ended(t, Sources.row()) :: t
  def ended(look, {owner, path, name, version}) do
    if owner in look.leaving,
      do: look,
      else: %{look | gone: Map.put(look.gone, path, {version, name})}
  end

  @doc "The rows of workers that are to have the code of now."
  @spec serving(t, [Sources.row()]) :: [Sources.row()]
  def serving(look, rows), do: Enum.reject(rows, fn {owner, _, _, _} -> owner in look.leaving end)

  @doc "The files to look at."
  @spec paths(t, [Sources.row()]) :: [Sources.path()]
  def paths(look, rows),
    do: Enum.uniq(for({_owner, path, _, _} <- rows, do: path) ++ Map.keys(look.gone))

  @doc """
  Whether workers are to be replaced now, by what files `hold`: `changed` are their files, and `names`
  the modules that new workers are to import first.
  """
  @spec decide(t, [Sources.row()], %{optional(Sources.path()) => Sources.version() | :missing}) ::
          {:wait | {:restart, changed :: files, names :: [module_name]}, t}
  def decide(look, rows, hold) do
    gone = for {path, {version, name}} <- look.gone, do: {nil, path, name, version}

    changed =
      for {_owner, path, name, version} <- gone ++ rows,
          now = hold[path],
          now not in [version, :missing] and not match?(%{^path => {^now, _}}, look.refused),
          into: %{},
          do: {path, {now, name}}

    if changed != %{} and changed == look.pending do
      names = for {_path, {_version, name}} <- Map.merge(look.refused, changed), do: name
      {{:restart, changed, Enum.uniq(names)}, %{look | pending: %{}}}
    else
      {:wait, %{look | pending: changed}}
    end
  end

  @doc "New workers serve; `before` are the owners of those that there were."
  @spec restarted(t, [pid]) :: t
  def restarted(look, before),
    do: %__MODULE__{leaving: MapSet.union(look.leaving, MapSet.new(before))}

  @doc "No worker can start with files as they are: they are tried again once one has changed again."
  @spec refused(t, files) :: t
  def refused(look, changed), do: %{look | refused: Map.merge(look.refused, changed)}

  @doc "Leaving workers whose owners are gone are forgotten."
  @spec left(t, (pid -> boolean)) :: t
  def left(look, alive?), do: %{look | leaving: MapSet.filter(look.leaving, alive?)}
end
