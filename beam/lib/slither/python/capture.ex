defmodule Slither.Python.Capture do
  @options [
    dir: [type: :string, required: true, doc: "The folder; it is made where it is missing."],
    max_files: [type: :pos_integer, default: 100, doc: "Files to keep; older ones are deleted."],
    max_bytes: [
      type: :pos_integer,
      default: 268_435_456,
      doc: "Bytes to keep, in all; a batch that takes more is not written."
    ]
  ]

  @moduledoc false
  # Files of batches that failed, for `python -m slither.replay`: the call, what Python asked
  # while it ran with the answers it got, and how it ended (`protocol/PROTOCOL.md`, "Captures").
  # Lanes write them. A file that can't be written changes nothing for its batch: that is logged, once
  # until a file can be written again.

  require Logger

  alias Slither.{Error, Options}
  alias Slither.Protocol.{Block, Encoder, Frame}
  alias Slither.Python.Outcome

  @magic "SLITHERC"
  @version 1
  @suffix ".slither"

  @enforce_keys [:dir, :max_files, :max_bytes, :warned]
  defstruct [:dir, :max_files, :max_bytes, :warned]

  @type t :: %__MODULE__{}
  @typedoc "A question's body and its answer's, as they went over the wire."
  @type exchange :: {binary, binary}

  @doc "What the option `capture_failures:` takes, in words."
  @spec accepted() :: String.t()
  def accepted, do: "a folder (a string), a keyword list of dir:, max_files:, max_bytes:, or nil"

  @doc "Whether the option's value is one."
  @spec valid?(term) :: boolean
  def valid?(nil), do: true
  def valid?(value), do: match?({:ok, _}, Options.validate(listed(value), @options, ""))

  @doc "Where failures go, of the option's value; nil where they go nowhere."
  @spec new(term) :: t | nil
  def new(nil), do: nil

  def new(value) do
    checked = value |> listed() |> Options.validate!(@options, "capture_failures")
    dir = Path.expand(checked[:dir])
    struct!(__MODULE__, Keyword.merge(checked, dir: dir, warned: :atomics.new(1, [])))
  end

  defp listed(dir) when is_binary(dir), do: [dir: dir]
  defp listed(value), do: value

  @doc """
  The outcome of a call, with the file it was written to where it is a failure.

  Items that a handler failed on purpose are none, nor are those that could not be sent to it.
  """
  @spec write(t, Outcome.t(), iodata, {[exchange], boolean}, map) :: Outcome.t()
  def write(_capture, %Outcome{error: %Error{reason: reason}} = outcome, _, _, _)
      when reason in [:cancelled, :worker_stopped],
      do: outcome

  def write(capture, %Outcome{kind: kind, error: error} = outcome, frame, tape, facts)
      when kind in [:error, :died] do
    told = %{"error" => fact(error)}
    %{outcome | error: pointed(error, file(capture, told, frame, tape, facts))}
  end

  def write(capture, %Outcome{values: [%Block{} = block]} = outcome, frame, tape, facts) do
    faults =
      for {at, %{"kind" => kind} = fault} <- block.errors || %{},
          kind != "failure",
          into: %{},
          do: {at, fault}

    if faults != %{}, do: file(capture, %{"errors" => faults}, frame, tape, facts)
    outcome
  end

  def write(capture, %Outcome{kind: :ok, errors: errors} = outcome, frame, tape, facts)
      when errors != %{} do
    failed = for {at, error} <- errors, failed?(error), into: %{}, do: {at, fact(error)}
    path = if failed != %{}, do: file(capture, %{"errors" => failed}, frame, tape, facts)

    errors =
      Map.new(errors, fn {at, error} ->
        {at, if(is_map_key(failed, at), do: pointed(error, path), else: error)}
      end)

    %{outcome | errors: errors}
  end

  def write(_capture, outcome, _frame, _tape, _facts), do: outcome

  # `details` has the kind that Python gave the error.
  defp failed?(%Error{details: %{"kind" => kind}}), do: kind != "failure"
  defp failed?(_error), do: false

  defp pointed(error, nil), do: error

  # Adds to the error where the batch is, and how to run it again.
  defp pointed(%Error{} = error, path) do
    how = "run it again with: python -m slither.replay #{quoted(path)}"
    hint = if error.hint, do: "#{error.hint}; #{how}", else: how
    %{error | hint: hint, details: Map.put(error.details, :capture, path)}
  end

  # Writes a file of a failure: its error, the body of its call, and the exchanges while the call
  # ran. Gives the path, or nil where the file can't be written.
  defp file(capture, told, call, {exchanges, cut?}, facts) do
    time = DateTime.to_iso8601(DateTime.utc_now())
    facts = facts |> Map.merge(told) |> Map.merge(%{"time" => time, "cut" => cut?})

    with {:ok, content} <- content(facts, call, exchanges),
         :ok <- fits(IO.iodata_length(content), capture.max_bytes),
         :ok <- folder(capture.dir),
         {:ok, path} <- put(capture.dir, name(facts), content) do
      :atomics.put(capture.warned, 1, 0)
      rotate(capture, path)
      path
    else
      {:error, why} -> warn(capture, why)
    end
  catch
    kind, reason -> warn(capture, Exception.format_banner(kind, reason, __STACKTRACE__))
  end

  defp fact(%Error{} = error) do
    python = error.python || %{}

    for {key, value} <- [
          {"kind", Atom.to_string(error.reason)},
          {"message", error.message},
          {"type", python[:type]},
          {"traceback", python[:traceback]}
        ],
        value != nil,
        into: %{},
        do: {key, text(value)}
  end

  defp text(value) do
    value = to_string(value)
    if String.valid?(value), do: value, else: inspect(value)
  end

  defp content(facts, call, exchanges) do
    facts = Map.merge(facts, %{"capture" => @version, "protocol" => Frame.version()})

    with {:ok, encoded} <- Encoder.encode(facts, "facts") do
      bodies = [encoded, call | Enum.flat_map(exchanges, &Tuple.to_list/1)]
      entries = for body <- bodies, do: [<<IO.iodata_length(body)::32>> | body]
      {:ok, [@magic, <<@version::32, :erlang.crc32(entries)::32>> | entries]}
    end
  end

  defp fits(size, most) when size <= most, do: :ok
  defp fits(size, most), do: {:error, "it takes #{size} bytes, of max_bytes: #{most}"}

  defp folder(dir) do
    if File.dir?(dir) do
      :ok
    else
      with :ok <- File.mkdir_p(dir), do: File.chmod(dir, 0o700)
    end
  end

  # The names sort in the order in which the files were made.
  defp name(facts) do
    time = Calendar.strftime(DateTime.utc_now(), "%Y%m%dT%H%M%S.%f")
    pool = String.replace(facts["pool"], ~r/[^A-Za-z0-9_-]/, "_")
    unique = System.unique_integer([:positive])
    "#{time}-#{pool}-#{facts["worker"]}-#{System.pid()}-#{unique}#{@suffix}"
  end

  # The file gets its mode before its content, and its name after it: nobody else can read what it
  # holds, and no half of a file has the name of a whole one.
  defp put(dir, name, content) do
    path = Path.join(dir, name)
    part = path <> ".part"

    with {:ok, file} <- :file.open(part, [:raw, :write, :exclusive, :binary]),
         written = write_all(file, part, content),
         closed = :file.close(file),
         :ok <- written,
         :ok <- closed,
         :ok <- File.rename(part, path) do
      {:ok, path}
    else
      {:error, reason} ->
        _ = File.rm(part)
        {:error, :file.format_error(reason) |> to_string()}
    end
  end

  defp write_all(file, part, content) do
    with :ok <- File.chmod(part, 0o600), do: :file.write(file, content)
  end

  defp rotate(capture, newest) do
    files =
      for name <- Enum.sort(File.ls!(capture.dir), :desc),
          String.ends_with?(name, [@suffix, @suffix <> ".part"]),
          path = Path.join(capture.dir, name),
          path != newest,
          {:ok, %{size: size}} <- [File.stat(path)],
          do: {path, size}

    {:ok, %{size: size}} = File.stat(newest)

    Enum.reduce(files, {1, size}, fn {path, size}, {count, bytes} ->
      if count >= capture.max_files or bytes + size > capture.max_bytes, do: File.rm(path)
      {count + 1, bytes + size}
    end)
  end

  defp warn(capture, why) do
    if :atomics.exchange(capture.warned, 1, 1) == 0 do
      Logger.warning("a failed batch was not written to #{capture.dir}: #{said(why)}")
    end

    nil
  end

  defp said(why) when is_atom(why), do: :file.format_error(why)
  defp said(why), do: why

  defp quoted(path) do
    if path =~ ~r/^[A-Za-z0-9_.\/-]+$/,
      do: path,
      else: "'" <> String.replace(path, "'", ~S('\'')) <> "'"
  end
end
