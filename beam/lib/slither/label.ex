defmodule Slither.Label do
  @moduledoc false
  # A process's label, by which observers and crash reports name one that has no registered name.
  # Called by each process of ours for itself, as it begins.

  @doc """
  Labels the calling process.

  Erlang/OTP knows labels since 27. An older one has the label where that keeps it, in the process
  dictionary, which its crash reports show.
  """
  @spec set(term) :: :ok
  def set(label) do
    # By `apply/3`, as the compiler of an older Erlang does not know the function.
    if function_exported?(:proc_lib, :set_label, 1),
      do: apply(:proc_lib, :set_label, [label]),
      else: Process.put(:"$process_label", label)

    :ok
  end
end
