defmodule Slither.Driver.Spec do
  @moduledoc false
  # The options of a run as the driver writes them, with names that are looked up, and a receipt
  # as the driver reads it.

  alias Slither.Driver.Fault
  alias Slither.{Error, Receipt}
  alias Slither.Pipe.Document.{Fields, Policies}

  @orderings %{"preserve" => :preserve, "as_completed" => :as_completed}

  @doc "The options of a dispatch."
  @spec map(map) :: {:ok, keyword} | {:error, Error.t()}
  def map(spec) do
    Enum.reduce_while(spec, {:ok, []}, fn {name, value}, {:ok, options} ->
      case option(name, value) do
        {:ok, option} -> {:cont, {:ok, [option | options]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  @doc "The document of a pipe, and the options of its run."
  @spec pipe(map) :: {:ok, term, keyword} | {:error, Error.t()}
  def pipe(spec) do
    spec
    |> Map.delete("document")
    |> Enum.reduce_while({:ok, spec["document"], []}, fn {name, value},
                                                         {:ok, document, options} ->
      case pipe_option(name, value) do
        {:ok, option} -> {:cont, {:ok, document, [option | options]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  defp pipe_option("checkpoint", path) when is_binary(path), do: {:ok, {:checkpoint, path}}
  defp pipe_option("resume", "anyway"), do: {:ok, {:resume, :anyway}}
  defp pipe_option("sources", %{} = digests), do: {:ok, {:sources, digests}}
  defp pipe_option("session", name) when is_binary(name), do: {:ok, {:session_id, name}}
  defp pipe_option("trace", trace), do: {:ok, {:metadata, %{trace: trace}}}

  defp pipe_option(name, _value),
    do: {:error, Fault.unknown("option", name, ~w(checkpoint resume session sources trace))}

  @names ~w(target max_in_flight ordering on_error isolate timeout queue_timeout session trace)

  defp option("target", target), do: {:ok, {:executor_options, [target: target]}}
  defp option("max_in_flight", count), do: {:ok, {:max_in_flight, count}}
  defp option("isolate", value), do: {:ok, {:isolate, value}}
  defp option("timeout", ms), do: {:ok, {:timeout, ms || :infinity}}
  defp option("queue_timeout", ms), do: {:ok, {:queue_timeout, ms || :infinity}}
  defp option("session", name), do: {:ok, {:session_id, name}}
  defp option("trace", trace), do: {:ok, {:metadata, %{trace: trace}}}

  defp option("ordering", name) do
    with {:ok, ordering} <- known("ordering", name, @orderings), do: {:ok, {:ordering, ordering}}
  end

  defp option("on_error", policy) do
    with {:ok, policy} <- policy(policy), do: {:ok, {:on_error, policy}}
  end

  defp option(name, _value), do: {:error, Fault.unknown("option", name, @names)}

  defp policy(document) do
    {:ok, Policies.policy(document, "on_error")}
  catch
    {Fields, _reason, path, message} ->
      {:error, %Error{reason: :invalid_option, message: "#{path}: #{message}"}}
  end

  defp known(what, name, names) do
    case names do
      %{^name => value} -> {:ok, value}
      _ -> {:error, Fault.unknown(what, name, Map.keys(names))}
    end
  end

  @doc "A receipt with names as strings, and times in microseconds."
  @spec receipt(Receipt.t()) :: map
  def receipt(%Receipt{} = receipt) do
    times = Map.new(receipt.times, fn {name, time} -> {Atom.to_string(name), micros(time)} end)
    stages = for {name, stage} <- receipt.stages, do: [to_string(name), receipt(stage)]

    receipt
    |> Map.from_struct()
    |> Map.new(fn {name, value} -> {Atom.to_string(name), value} end)
    |> Map.merge(%{"times" => times, "stages" => stages, "duration" => micros(receipt.duration)})
  end

  defp micros(time), do: System.convert_time_unit(time, :native, :microsecond)
end
