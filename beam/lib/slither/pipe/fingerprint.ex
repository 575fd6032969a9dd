defmodule Slither.Pipe.Fingerprint do
  @moduledoc false
  # The parts of a pipe's definition that a run's results depend on, by name, each with a digest.
  # The digest is the same in another VM, and changes with the part, or with the code of a handler
  # in it. Slither's own code is left out, so that a new version can go on from a checkpoint.
  # Pure; called by `Slither.Pipe.Resume`.

  alias Slither.Pipe.{Checkpoint, Definition}

  # Options that change how a run goes, but not its outputs.
  @tuning [:batch_size, :max_in_flight, :timeout, :item_timeout, :queue_timeout, :pool, :isolate] ++
            [:window, :concurrency, :batch_time, :max_in_flight_bytes, :on_session_lost]

  @doc "The parts, in order of their names."
  @spec parts(Definition.t(), keyword) :: Checkpoint.parts()
  def parts(definition, options) do
    parts =
      [
        {"name", definition.name},
        {"outputs", Enum.sort(definition.outputs)},
        {"stores", definition.stores},
        {"order of stages", Enum.map(definition.stages, & &1.name)},
        {"option :metadata", options[:metadata]}
      ] ++
        Enum.flat_map(definition.stages, &stage/1) ++
        for({stage, policy} <- definition.on_error, do: {"on_error #{inspect(stage)}", policy}) ++
        for {target, digest} <- options[:sources] || %{}, do: {"source of #{target}", digest}

    for {name, term} <- Enum.sort(parts),
        do: {name, :erlang.md5(:erlang.term_to_binary(lasting(term), [:deterministic]))}
  end

  defp stage(stage) do
    name = "stage #{inspect(stage.name)}"
    chosen = Keyword.drop(stage.options, @tuning)

    [{name, {stage.type, stage.module, code(stage.module)}}] ++
      for {option, value} <- chosen, do: {"#{name} option #{inspect(option)}", value}
  end

  # Stands for a term with another one, which is the same in every VM.
  defp lasting(fun) when is_function(fun) do
    facts = Map.new(Function.info(fun))
    name = {facts.module, facts.name, facts.arity}

    if facts.type == :external,
      do: {:external, name, code(facts.module)},
      else: {:function, name, unless(ours?(facts.module), do: facts.new_uniq), env(facts)}
  end

  defp lasting(list) when is_list(list), do: lasting_list(list)
  defp lasting(tuple) when is_tuple(tuple), do: {:tuple, lasting(Tuple.to_list(tuple))}

  defp lasting(map) when is_map(map),
    do: {:map, map |> :maps.to_list() |> Enum.sort() |> lasting()}

  defp lasting(pid) when is_pid(pid) or is_reference(pid) or is_port(pid), do: :of_the_moment

  # An atom may name a module whose functions are called.
  defp lasting(atom) when is_atom(atom), do: {atom, code(atom)}
  defp lasting(term), do: term

  defp lasting_list([head | tail]), do: [lasting(head) | lasting_list(tail)]
  defp lasting_list(tail), do: if(tail == [], do: [], else: lasting(tail))

  defp env(%{env: env}), do: lasting(env)

  defp code(module) do
    if is_atom(module) and match?("Elixir." <> _, Atom.to_string(module)) and
         Code.ensure_loaded?(module) and not ours?(module),
       do: module.module_info(:md5)
  end

  defp ours?(module), do: :application.get_application(module) == {:ok, :slither}
end
