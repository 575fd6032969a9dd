defmodule Slither.Watch.Attach.Client do
  @moduledoc false
  # Looks into another VM of the same user, for `mix slither.top` and `mix slither.diagnose`. Runs in
  # the process of the task.

  alias Slither.Error
  alias Slither.Watch.Attach.Place

  # ms for a connection, and for an answer.
  @connect 2_000
  @answer 20_000

  @type t :: %{socket: :socket.socket(), os_pid: pos_integer, read: binary}

  @doc """
  Connects to a VM, by the number of its process or of the program that started it; with nil to the one
  that there is. Several, or none, are an error that lists them.
  """
  @spec connect(pos_integer | nil) :: {:ok, t} | {:error, Error.t()}
  def connect(wanted) do
    open = for {os_pid, path} <- Place.all(), vm <- open(os_pid, path), do: vm
    found = if wanted, do: Enum.filter(open, &of?(&1, wanted)), else: open

    case found do
      [{vm, _snapshot}] ->
        close(List.delete(open, hd(found)))
        {:ok, vm}

      other ->
        close(open)
        {:error, none(wanted, other, open)}
    end
  end

  # Each is asked at once, for what it is called.
  defp open(os_pid, path) do
    with {:ok, socket} <- :socket.open(:local, :stream, :default),
         :ok <- :socket.connect(socket, %{family: :local, path: path}, @connect),
         {:ok, snapshot, vm} <- ask(%{socket: socket, os_pid: os_pid, read: ""}, "snapshot") do
      [{vm, snapshot}]
    else
      {:error, :econnrefused} -> left(path)
      _gone -> []
    end
  end

  # The VM of this file was killed.
  defp left(path) do
    _ = File.rm(path)
    []
  end

  defp of?({%{os_pid: os_pid}, snapshot}, wanted),
    do: wanted in [os_pid, snapshot.program_pid]

  defp close(vms), do: for({vm, _snapshot} <- vms, do: :socket.close(vm.socket))

  @doc "Asks; the answer is as the other VM has it."
  @spec ask(t, String.t()) :: {:ok, map, t} | {:error, Error.t()}
  def ask(vm, question) do
    with :ok <- :socket.send(vm.socket, "term #{question}\n", @connect),
         {:ok, line, read} <- line(vm.socket, [vm.read]),
         {:ok, answer} <- term(line) do
      {:ok, answer, %{vm | read: read}}
    else
      {:error, why} -> {:error, gone(vm.os_pid, why)}
    end
  end

  # It comes from a VM of the same user, who may do anything to this one, too. Its names may be new
  # here.
  defp term(line) do
    {:ok, line |> Base.decode64!() |> :erlang.binary_to_term()}
  rescue
    ArgumentError -> {:error, :not_readable}
  end

  defp line(socket, parts) do
    case String.split(hd(parts), "\n", parts: 2) do
      [last, rest] ->
        {:ok, IO.iodata_to_binary(Enum.reverse([last | tl(parts)])), rest}

      [_part] ->
        with {:ok, more} <- :socket.recv(socket, 0, @answer), do: line(socket, [more | parts])
    end
  end

  defp gone(os_pid, why) do
    message = "the program of process #{os_pid} answers no more: #{inspect(why)}"
    %Error{reason: :not_attached, message: message}
  end

  defp none(wanted, found, open) do
    list = Enum.map_join(if(found == [], do: open, else: found), "; ", &called/1)

    {message, hint} =
      case {wanted, open, found} do
        {nil, [], _none} ->
          {"no program with Slither runs here for this user",
           "looked for sockets in #{Enum.join(Place.folders(), ", ")}; " <>
             "config :slither, attach: false has none"}

        {nil, _open, _several} ->
          {"several programs with Slither run here", "name one: #{list}"}

        {_pid, [], _none} ->
          {"process #{wanted} is no program with Slither of this user", nil}

        {_pid, _open, _none} ->
          {"process #{wanted} is no program with Slither of this user", "these are: #{list}"}
      end

    %Error{reason: :not_attached, message: message, hint: hint}
  end

  defp called({vm, snapshot}), do: "#{snapshot.program_pid || vm.os_pid} (#{snapshot.name})"
end
