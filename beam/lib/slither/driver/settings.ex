defmodule Slither.Driver.Settings do
  @moduledoc false
  # What the welcome of a driver says, as options of the pool and the level of the log. Names
  # come from data: they are looked up, never made into atoms.

  alias Slither.Driver.Fault
  alias Slither.Python.Pool

  @pool ~w(size spare python preload paths env cd main argv initializer window max_queue max_frame
           startup_timeout max_requests max_calls max_rss max_age cancel_grace session_idle
           shutdown log_level capture_failures)a
  @timeouts ~w(startup_timeout session_idle)a
  @pool_names Map.new(@pool, &{Atom.to_string(&1), &1})
  @log_levels Map.new(~w(debug info warning error critical none)a, &{Atom.to_string(&1), &1})
  @levels Map.new(~w(debug info warning error)a, &{Atom.to_string(&1), &1})

  @doc "The options of the pool `:default`, and the Logger's level."
  @spec check(map) :: {:ok, keyword, Logger.level()} | {:error, Slither.Error.t()}
  def check(settings) do
    with {:ok, level} <- level(Map.get(settings, "level", "info")),
         {:ok, options} <- pool(Map.delete(settings, "level")),
         {:ok, options} <- Pool.check([name: :default] ++ options) do
      {:ok, options, level}
    end
  end

  defp level(name) do
    case @levels do
      %{^name => level} -> {:ok, level}
      _ -> {:error, Fault.unknown("level", name, Map.keys(@levels))}
    end
  end

  defp pool(settings) do
    Enum.reduce_while(settings, {:ok, []}, fn {name, value}, {:ok, options} ->
      case @pool_names do
        %{^name => option} -> {:cont, {:ok, [{option, value(option, value)} | options]}}
        _ -> {:halt, {:error, Fault.unknown("setting", name, Map.keys(@pool_names))}}
      end
    end)
  end

  defp value(option, nil) when option in @timeouts, do: :infinity
  defp value(:log_level, name), do: Map.get(@log_levels, name, name)
  defp value(_option, value), do: value
end
