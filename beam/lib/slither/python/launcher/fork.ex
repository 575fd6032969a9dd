defmodule Slither.Python.Launcher.Fork do
  @moduledoc false
  # Has a pool's template fork a worker, which then reaches BEAM over a socket. Called by
  # `Slither.Python.Worker`, the worker's owner, in its own process. Where nothing can be forked
  # it starts an interpreter, as `Launcher.Spawn` does.

  @behaviour Slither.Python.Launcher

  alias Slither.Python.{Environment, Templates}
  alias Slither.Python.Template.Answers
  alias Slither.Python.Launcher.{Launched, Spawn}
  alias Slither.Python.Obituary
  alias Slither.Python.Transport.Forked

  # A template may end while it forks: so often another is asked.
  @tries 3

  @impl true
  def launch(settings, slot), do: ask(settings, slot, @tries)

  defp ask(settings, slot, tries) do
    variables = Environment.variables(settings, slot)
    templates = GenServer.whereis(settings.templates)
    pending = %{settings: settings, slot: slot, tries: tries, templates: templates, ref: nil}

    if templates,
      do: {:later, %{pending | ref: Templates.fork(templates, variables)}},
      else: {:error, gone(settings)}
  end

  @impl true
  def event(%{ref: ref} = pending, {Answers, ref, answer}) do
    Process.demonitor(ref, [:flush])

    case answer do
      {:forked, forked} -> forked(forked)
      {:error, error} -> {:error, error}
      :spawn -> Spawn.launch(pending.settings, pending.slot)
      :again when pending.tries > 1 -> ask(pending.settings, pending.slot, pending.tries - 1)
      :again -> {:error, gone(pending.settings)}
    end
  end

  def event(%{ref: ref, settings: settings}, {:DOWN, ref, :process, _templates, _reason}),
    do: {:error, gone(settings)}

  def event(_pending, _message), do: :none

  @impl true
  def where(pending, from), do: Templates.where(pending.templates, from, pending.slot)

  defp forked(%{os_pid: os_pid} = forked) do
    transport = %Forked{socket: forked.socket, os_pid: os_pid, template: forked.template}
    # What the socket has for its owner comes from now on.
    :ok = Forked.open(transport)
    {:ok, %Launched{transport: transport, os_pid: os_pid, python: forked.python}}
  end

  @impl true
  def explain(%Launched{transport: %Forked{}, python: python}),
    do: "#{python}: the worker, which was forked, ended before it was ready"

  def explain(launched), do: Spawn.explain(launched)

  defp gone(settings) do
    why = "the process that forks the pool's workers ended"
    Obituary.not_started(settings.name, settings.python || "python3", why)
  end
end
