defmodule Slither.Call do
  @moduledoc false
  # One call of one Python function, in the process that makes it: what `Slither.call/4` and its
  # kin do. A call that is awaited has a task of its own, which is linked to its caller.

  alias Slither.{Error, Options, Rate}
  alias Slither.Python.Pool
  alias Slither.Run.Limited
  alias Slither.Trace.Recorder

  @options [
    kwargs: [
      type: {:custom, "a map, such as %{a: 1}", &is_map/1},
      default: %{},
      doc: "Keyword arguments, by their names: atoms or strings."
    ],
    pool: [type: :atom, default: :default, doc: "The pool whose workers run it."],
    timeout: [
      type: :timeout,
      default: 30_000,
      doc: "ms the function may run, waits for a worker not counted; then its worker is killed."
    ],
    queue_timeout: [
      type: :timeout,
      default: :infinity,
      doc: "ms the call may wait for a worker."
    ],
    session: [
      type: :string,
      doc: "The session the call is part of: its calls run on one worker, in order."
    ],
    on_session_lost: [
      type: {:in, [:error, :rebind]},
      default: :error,
      doc:
        "When the worker that held the session is gone: the call fails with `:session_lost`, or " <>
          "the session begins anew on another."
    ],
    rate: [
      type: {:custom, "the name of a Slither.Rate, or {name, weight: fun}", &Rate.Spec.shared?/1},
      doc:
        "The `Slither.Rate` that the call takes a token of; a `weight:` function gets the list of " <>
          "arguments."
    ],
    priority: [
      type: {:in, [:normal, :urgent]},
      default: :normal,
      doc: "An `:urgent` call gets a worker before others that wait for one."
    ]
  ]
  @read Options.read(@options)

  @await "Slither.await/2"
  # The longest time that a timer takes.
  @longest 0xFFFFFFFF

  @type function_name :: String.t() | atom

  @doc "The options as Markdown."
  @spec docs() :: String.t()
  def docs, do: Options.docs(@options)

  @doc "The table of options."
  @spec table() :: Options.table()
  def table, do: @options

  @doc "Makes a call; `where` names the public function in errors."
  @spec run(function_name, function_name, list, keyword, String.t()) ::
          {:ok, term} | {:error, Error.t()}
  def run(module, function, args, options, where) do
    with {:ok, options} <- Options.validate(options, @read, where),
         {:ok, target} <- target("apply", module, function, where),
         {:ok, payload} <- arguments(args, options[:kwargs], where) do
      pool = options[:pool]

      Limited.call(options[:rate], args, fn rated ->
        options = [{:rated, rated} | pool_options(options)]
        pool |> Pool.call(target, [payload], options) |> one()
      end)
    end
  end

  @doc "The options of a call as a pool takes them."
  @spec pool_options(keyword) :: keyword
  def pool_options(options) do
    [
      timeout: options[:timeout],
      queue_timeout: options[:queue_timeout],
      session_id: options[:session],
      on_session_lost: options[:on_session_lost],
      priority: options[:priority]
    ]
  end

  @doc "The target of a call, of a kind that takes a module and a function."
  @spec target(String.t(), term, term, String.t()) ::
          {:ok, [String.t(), ...]} | {:error, Error.t()}
  def target(kind, module, function, where) do
    with {:ok, module} <- name("module", module, where),
         {:ok, function} <- name("function", function, where),
         do: {:ok, [kind, module, function]}
  end

  defp name(what, name, where) do
    text = if is_atom(name) and name != nil, do: Atom.to_string(name), else: name

    if is_binary(text) and text != "" and String.valid?(text),
      do: {:ok, text},
      else: refused(where, "the #{what}'s name is a string or an atom, got #{short(name)}", nil)
  end

  @doc "The payload of a call: its arguments, and its keyword arguments."
  @spec arguments(term, map, String.t()) :: {:ok, [list | map, ...]} | {:error, Error.t()}
  def arguments(args, kwargs, where) do
    cond do
      not proper?(args) ->
        hint = "write [#{short(args)}] for a function of one argument"
        refused(where, "takes a list of arguments, got #{short(args)}", hint)

      name = Enum.find(Map.keys(kwargs), &(not name?(&1))) ->
        refused(where, "option :kwargs takes names as keys, got #{short(name)}", nil)

      name = Enum.find(Map.keys(kwargs), &(is_atom(&1) and is_map_key(kwargs, to_string(&1)))) ->
        refused(
          where,
          "option :kwargs has #{short(to_string(name))} twice, as an atom and a string",
          nil
        )

      true ->
        {:ok, [args, Map.new(kwargs, fn {name, value} -> {to_string(name), value} end)]}
    end
  end

  defp proper?(args), do: is_list(args) and List.improper?(args) == false

  defp name?(name), do: is_atom(name) or (is_binary(name) and String.valid?(name))

  defp one({:ok, [value], errors}) when errors == %{}, do: {:ok, value}
  defp one({:ok, _values, %{0 => error}}), do: {:error, error}
  defp one({:error, error}), do: {:error, error}

  @doc "Makes a call in a task of its own."
  @spec async(function_name, function_name, list, keyword) :: Task.t()
  def async(module, function, args, options),
    do: asynchronous(Recorder.current(), module, function, args, options)

  # The task is below what its caller is.
  defp asynchronous(trace, module, function, args, options) do
    Task.async(fn ->
      Recorder.enter(trace)
      run(module, function, args, options, "Slither.async/4")
    end)
  end

  @doc "Waits for a call's answer, at most so many ms; a call that is late is cancelled."
  @spec await(Task.t(), timeout) :: {:ok, term} | {:error, Error.t()}
  def await(%Task{owner: owner}, _timeout) when owner != self(),
    do: raise(ArgumentError, "#{@await}: another process began this call, and gets its answer")

  def await(%Task{} = task, timeout)
      when timeout == :infinity or (is_integer(timeout) and timeout in 0..@longest) do
    case answer(task, timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, answer} -> answer
      {:exit, reason} -> exit({reason, {__MODULE__, :await, [task, timeout]}})
      nil -> {:error, late(timeout)}
    end
  end

  def await(%Task{}, timeout) do
    takes = "milliseconds (0 to #{@longest}) or :infinity"
    raise ArgumentError, "#{@await}: timeout takes #{takes}, got #{short(timeout)}"
  end

  # A task tells its end once, and whoever took it would wait for ever: a monitor of our own
  # tells it again. It comes behind the answer, as the task sends both.
  defp answer(%Task{ref: ref} = task, timeout) do
    again = Process.monitor(task.pid)

    try do
      receive do
        {^ref, answer} ->
          Process.demonitor(ref, [:flush])
          {:ok, answer}

        {:DOWN, ^ref, :process, _pid, reason} ->
          {:exit, reason}

        {:DOWN, ^again, :process, _pid, reason} ->
          ended(task, reason, Process.demonitor(ref, [:info]))
      after
        timeout -> nil
      end
    after
      Process.demonitor(again, [:flush])
    end
  end

  # Of the two monitors either may tell first.
  defp ended(task, reason, untold?) do
    case Task.yield(task, 0) do
      nil when untold? -> {:exit, reason}
      nil -> raise ArgumentError, "#{@await}: the answer was taken, or the call was cancelled"
      answer -> answer
    end
  end

  defp late(timeout) do
    %Error{
      reason: :timeout,
      where: @await,
      message: "the call gave no answer within #{timeout} ms, and was cancelled",
      hint: "wait longer, or add workers",
      details: %{timeout: timeout}
    }
  end

  @doc "What Python says of a module, or of a function in it."
  @spec help(function_name, function_name | nil, keyword) ::
          {:ok, String.t()} | {:error, Error.t()}
  def help(module, function, options) do
    where = "Slither.help/3"

    with {:ok, options} <-
           Options.validate(options, Keyword.take(@options, [:pool, :timeout]), where),
         {:ok, module} <- name("module", module, where),
         {:ok, function} <- if(function, do: name("function", function, where), else: {:ok, ""}) do
      target = ["help", module, function]
      options[:pool] |> Pool.call(target, [nil], timeout: options[:timeout]) |> one()
    end
  end

  defp refused(where, message, hint),
    do: {:error, %Error{reason: :invalid_argument, where: where, message: message, hint: hint}}

  defp short(value), do: inspect(value, limit: 5, printable_limit: 80)
end
