defmodule Slither.Guarded do
  @moduledoc false
  # Calls functions of the user's own, in the calling process: whatever they do, the caller gets an
  # answer, unless the function never returns or kills its process. Runs of dispatches and pipes use
  # it.

  alias Slither.Error

  @doc """
  The function's value, or an error of the `reason:` given that says what `name` did.

  With `check:` a function says of the value `:ok`, or `{:error, text}` of what is wrong with it.
  """
  @spec call(String.t(), (() -> value), keyword) :: {:ok, value} | {:error, Error.t()}
        when value: term
  def call(name, fun, options) do
    guarded(name, fun, options[:reason], options[:check] || fn _value -> :ok end)
  end

  defp guarded(name, fun, reason, check) do
    value = fun.()

    case check.(value) do
      :ok -> {:ok, value}
      {:error, text} -> {:error, %Error{reason: reason, message: "#{name} #{text}"}}
    end
  rescue
    error in Error ->
      {:error, error}

    exception ->
      {:error, failed(reason, name, Exception.format_banner(:error, exception), __STACKTRACE__)}
  catch
    kind, value ->
      {:error, failed(reason, name, Exception.format_banner(kind, value), __STACKTRACE__)}
  end

  defp failed(reason, name, banner, stacktrace) do
    %Error{
      reason: reason,
      message: "#{name} failed: #{banner}",
      details: %{stacktrace: Exception.format_stacktrace(stacktrace)}
    }
  end
end
