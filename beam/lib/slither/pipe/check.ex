defmodule Slither.Pipe.Check do
  @moduledoc false
  # Checks the rules that hold between the statements of a pipe. Each function returns the first
  # fault in the order of the statements; `Slither.Pipe.Builder` calls them while it builds. Pure.

  alias Slither.Options
  alias Slither.Pipe.{Definition, Statement}
  alias Slither.Run.Policy
  alias Slither.Stage.{Pipe, Router}

  @doc "Whether each name can be one and is given once."
  @spec names([Statement.t()], Definition.t()) :: :ok | Statement.fault()
  def names(statements, definition) do
    with :ok <- atoms(statements, definition),
         :ok <- unique(statements, :stage),
         :ok <- unique(statements, :output),
         :ok <- unique(statements, :store),
         :ok <- unique(statements, :on_error),
         :ok <- apart(statements),
         do: not_default(statements, definition)
  end

  # The reader of a document has checked its names already, which are strings.
  defp atoms(_statements, %{name: name}) when is_binary(name), do: :ok

  defp atoms(statements, _definition) do
    first(statements, fn %{kind: kind, name: name} = statement ->
      unless is_atom(name) and name != nil do
        message = "#{kind} takes an atom as its name, got #{inspect(name)}"
        Statement.fault(statement, :invalid_name, message)
      end
    end)
  end

  defp unique(statements, kind) do
    of_kind = Enum.filter(statements, &(&1.kind == kind))

    first(of_kind -- Enum.uniq_by(of_kind, & &1.name), fn again ->
      Statement.fault(again, :duplicate, "#{kind} #{inspect(again.name)} is there twice")
    end)
  end

  # The fault is the later statement of a pair, and of several pairs the last.
  defp apart(statements) do
    named = fn kind -> for %{kind: ^kind, name: name} <- statements, do: name end
    both = MapSet.intersection(MapSet.new(named.(:stage)), MapSet.new(named.(:output)))

    statements
    |> Enum.reverse()
    |> Enum.filter(&(&1.kind in [:stage, :output] and &1.name in both))
    |> first(&Statement.fault(&1, :duplicate, "#{inspect(&1.name)} is a stage and an output"))
  end

  defp not_default(statements, %{default: default}) do
    first(statements, fn statement ->
      if statement.kind == :stage and statement.name == default do
        message = "#{inspect(default)} is an output; a stage needs another name"
        Statement.fault(statement, :duplicate, message)
      end
    end)
  end

  @doc "Whether a store's statement names a store."
  @spec store(Statement.t()) :: :ok | Statement.fault()
  def store(%{kind: :store, line: line, value: module} = statement) when is_integer(line) do
    if Statement.module?(module),
      do: :ok,
      else:
        Statement.fault(statement, :invalid_store, "a store is a module, got #{inspect(module)}")
  end

  # A document gives a store by the name that it was started with, so there is no module to check.
  def store(_statement), do: :ok

  @doc "Whether what leaves an inner pipe has somewhere to go."
  @spec inner_outputs(Statement.t(), Definition.Stage.t(), Definition.t()) ::
          :ok | Statement.fault()
  def inner_outputs(statement, %{type: :pipe, options: options}, %{outputs: outputs}) do
    inner = options[:definition].outputs -- [options[:definition].default]
    given = Map.new(options[:outputs])
    astray = Enum.find(Map.keys(given), &(&1 not in inner))
    missing = Enum.find(inner, &(Map.get(given, &1, &1) not in outputs))

    cond do
      astray ->
        message = "#{Pipe.name(options)} has no output #{inspect(astray)}."
        Statement.fault(statement, :unknown_output, message <> Options.nearest(astray, inner))

      missing ->
        Statement.undeclared(statement, Map.get(given, missing, missing), outputs)

      true ->
        :ok
    end
  end

  def inner_outputs(_statement, _stage, _definition), do: :ok

  @doc "Whether routers lead to outputs, and to stages that are still ahead."
  @spec routes([Definition.Stage.t()], Definition.t()) :: :ok | Statement.fault()
  def routes(stages, %{outputs: outputs}),
    do: routes(stages, outputs, Enum.map(stages, & &1.name))

  defp routes([%{type: :router} = stage | later], outputs, names) do
    ahead = Enum.map(later, & &1.name)
    targets = Router.outputs(stage.options)

    case Enum.find_index(targets, &(&1 not in outputs and &1 not in ahead)) do
      nil -> routes(later, outputs, names)
      route -> astray(stage, Enum.at(targets, route), route, {outputs, ahead, names})
    end
  end

  defp routes([_other | later], outputs, names), do: routes(later, outputs, names)
  defp routes([], _outputs, _names), do: :ok

  defp astray(stage, target, route, {outputs, ahead, names}) do
    statement = %Statement{kind: :stage, line: stage.line, name: stage.name}

    if target in names do
      ahead = if ahead == [], do: "none", else: Statement.list(ahead)
      message = "#{inspect(target)} is not a later stage; an item can't go back. Later: #{ahead}"
      Statement.fault(statement, :unknown_output, message, %{route: route})
    else
      Statement.undeclared(statement, target, outputs, %{route: route})
    end
  end

  @doc "Whether each policy is one, of a stage that is there, and routes to an output."
  @spec policies([Statement.t()], Definition.t()) :: :ok | Statement.fault()
  def policies(statements, definition) do
    names = for %{kind: :stage, name: name} <- statements, do: name

    first(statements, fn
      %{kind: :on_error} = statement ->
        with :ok <- known_stage(statement, names),
             {:ok, policy} <- policy(statement),
             :ok <- target(statement, policy, definition),
             do: nil

      _other ->
        nil
    end)
  end

  defp known_stage(%{name: :*}, _names), do: :ok

  defp known_stage(%{name: stage} = statement, names) do
    if stage in names do
      :ok
    else
      message =
        "no stage #{inspect(stage)}.#{Options.nearest(stage, names)} " <>
          "Stages: #{Statement.list(names)}, and :*"

      Statement.fault(statement, :unknown_stage, message)
    end
  end

  defp policy(statement) do
    with {:error, error} <- Policy.new(statement.value), do: Statement.fault(statement, error)
  end

  defp target(statement, %{action: {:route, output}}, %{outputs: outputs})
       when not is_function(output) do
    if output in outputs, do: :ok, else: Statement.undeclared(statement, output, outputs)
  end

  defp target(_statement, _policy, _definition), do: :ok

  defp first(statements, fun), do: Enum.find_value(statements, :ok, fun)
end
