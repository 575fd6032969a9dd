defmodule Slither.HouseTest do
  # Holds the shape of `beam/lib`: which folder may know which, who sends to a process, how long a
  # file gets. What is not so yet is listed as an exception; one that is no more must be taken away.
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  @lib Path.expand("../lib", __DIR__)
  @files @lib |> Path.join("**/*.ex") |> Path.wildcard() |> Enum.map(&Path.relative_to(&1, @lib))

  # Each room and the rooms that it may know, all of them listed before it.
  @rooms [
    ground: [],
    protocol: [:ground],
    python: [:ground, :protocol],
    pool: [:ground, :protocol, :python],
    rate: [:ground, :protocol, :python],
    run: [:ground, :protocol, :python, :pool, :rate],
    dispatch: [:ground, :protocol, :python, :pool, :rate, :run],
    gather: [:ground, :protocol, :python, :pool, :rate, :run],
    expression: [:ground, :protocol],
    store: [:ground],
    bridge: [:ground, :store],
    pipe: [:ground, :expression, :store, :pool, :run, :dispatch],
    # They look at all that runs, and nothing that runs knows them.
    watch: [
      :ground,
      :protocol,
      :python,
      :pool,
      :rate,
      :run,
      :dispatch,
      :gather,
      :store,
      :bridge,
      :pipe
    ],
    dashboard:
      [:ground, :protocol, :python, :pool, :rate, :run, :dispatch, :gather] ++
        [:store, :bridge, :pipe, :watch],
    driver:
      [:ground, :protocol, :store, :python, :pool, :rate, :run, :dispatch, :gather, :pipe] ++
        [:watch, :dashboard],
    tools: [:ground, :protocol, :python, :pool, :dispatch, :pipe],
    top:
      [:ground, :protocol, :store, :python, :pool, :rate, :dispatch, :gather, :pipe] ++
        [:watch, :dashboard, :tools]
  ]

  # Files that stand beside the folders. Any other is its folder's, as `pool.ex` is `pool/`'s.
  @stand_alone %{
    ground:
      ~w(arrow encodable error item context json json_lines options guarded bytes tensor label receipt lock leftovers otp quantiles reader telemetry),
    pool: ~w(session),
    protocol: ~w(blob),
    dispatch: ~w(call stream_call),
    pipe: ~w(stage),
    watch: ~w(metrics),
    tools: ~w(doctor testing),
    top: ~w(application)
  }
  @folders %{
    "blob" => :protocol,
    "metrics" => :ground,
    "receipt" => :ground,
    "stage" => :pipe,
    "telemetry" => :ground,
    "testing" => :tools,
    "trace" => :ground,
    "values" => :ground
  }

  # Who knows a room above or beside its own.
  @edges []

  # Files that may be longer than any.
  @long ~w()

  # What is sent past the module that takes it, and messages that don't show what they are.
  @sends %{
    # What a pure file beside the process asked for, as an effect: a timer of its own.
    "pool/effects.ex" => [
      "Process.send_after(self(), message, at, abs: true)",
      "Process.send_after(self(), message, time)"
    ],
    "python/worker/effects.ex" => [
      "Process.send_after(self(), message, time)",
      "Process.send_after(self(), message, time, abs: true)"
    ],
    "python/template/fates.ex" => ["Process.send_after(self(), message, time)"],
    # Questions of functions beside it, which the scheduler's `handle_call/3` matches.
    "pool/scheduler.ex" => ["GenServer.call(handle.scheduler, question, timeout)"],
    # A `%Job{}`, as the function's head says.
    "python/lane.ex" => ["send(lane, job)"],
    # Whoever asked what becomes of his items is a process of the user's own.
    "pipe/acks.ex" => [
      "send(push.to, {@pipe, :ack, push.term, outcomes})",
      "send(push.to, {@pipe, :ack, push.term, Enum.map(left, &{&1, :lost})})"
    ],
    # A watcher is a process of the user's own.
    "store/watchers.ex" => [Slither.Store]
  }

  # Letters of a head that says something.
  @shortest 10
  # Modules without a head.
  @headless []

  @tag timeout: 300_000
  test "a folder knows only those below it, in types too; no file is in a circle at run time" do
    for {room, known} <- @rooms,
        {before, [_ | _]} = Enum.split_while(Keyword.keys(@rooms), &(&1 != room)),
        do: assert(known -- before == [], "#{room} lists a room that stands above it")

    edges = edges()
    assert edges != []
    types = type_edges()
    assert {"pool/scheduler.ex", "error.ex"} in types

    up =
      for {from, to} <- Enum.uniq(edges ++ types),
          not allowed?(room(from), room(to)),
          do: {from, to}

    assert_exceptions(up, @edges, "These know a room that theirs may not")
    assert circle(edges) == [], "these files are in a circle, or know one that is"
  end

  test "messages are sent by the module whose process takes them" do
    bare = for file <- @files, tag <- foreign(file), do: {short(file), tag}
    listed = for {file, tags} <- @sends, tag <- tags, do: {file, tag}
    assert_exceptions(bare, listed, "These send what their own module does not take")
  end

  test "no file is longer than 400 lines" do
    long = for file <- @files, lines(file) > 400, do: short(file)
    assert_exceptions(long, @long, "These are too long")
  end

  test "a module's head says what it is" do
    without = for file <- @files, {name, false} <- heads(file), do: {short(file), name}
    assert_exceptions(without, @headless, "These modules say nothing of themselves")
  end

  defp assert_exceptions(found, listed, sentence) do
    assert found -- listed == [], sentence <> ":\n" <> inspect(found -- listed, pretty: true)
    gone = listed -- found
    assert gone == [], "No exception is needed any more for:\n" <> inspect(gone, pretty: true)
  end

  ## Who knows whom

  # As the compiler noted it, which leaves out what only a type names.
  defp edges do
    arguments = ["graph", "--format", "plain", "--no-compile"]
    lines = capture_io(fn -> Mix.Tasks.Xref.run(arguments) end) |> String.split("\n", trim: true)

    {edges, _from} =
      Enum.flat_map_reduce(lines, nil, fn line, from ->
        [file] = Regex.run(~r{[\w/.]+\.ex}, line)
        if String.starts_with?(line, "beam/"), do: {[], file}, else: {[{from, file}], from}
      end)

    for {"beam/lib/" <> from, "beam/lib/" <> to} <- edges, do: {short(from), short(to)}
  end

  # What the types, specs and callbacks of compiled modules name.
  defp type_edges do
    {:ok, modules} = :application.get_key(:slither, :modules)

    files =
      for module <- modules, file = source(module), file in @files, do: {module, short(file)}

    files = Map.new(files)

    for {module, from} <- files,
        fetch <- [:fetch_types, :fetch_specs, :fetch_callbacks],
        {:ok, found} <- [apply(Code.Typespec, fetch, [module])],
        to <- found |> atoms() |> Enum.map(&files[&1]),
        to not in [nil, from],
        uniq: true,
        do: {from, to}
  end

  defp source(module), do: Path.relative_to("#{module.module_info(:compile)[:source]}", @lib)

  defp atoms({:atom, _, atom}), do: [atom]
  defp atoms(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> atoms()
  defp atoms([first | rest]), do: atoms(first) ++ atoms(rest)
  defp atoms(_other), do: []

  defp allowed?(room, room), do: true
  defp allowed?(from, to), do: to in @rooms[from]

  defp room(file) do
    name = Path.rootname(file)
    folder = name |> Path.split() |> hd()
    alone = Enum.find_value(@stand_alone, fn {room, names} -> if name in names, do: room end)

    case {alone, file} do
      {nil, "../mix" <> _} -> :top
      {nil, "../slither.ex"} -> :top
      {nil, "../" <> _shim} -> :dispatch
      {nil, _file} -> @folders[folder] || String.to_existing_atom(folder)
      {room, _file} -> room
    end
  end

  # Takes away, again and again, the files that know none of those left.
  defp circle(edges) do
    known = MapSet.new(edges, fn {_from, to} -> to end)
    knowing = MapSet.new(edges, fn {from, _to} -> from end)
    left = for {from, to} <- edges, to in knowing, from in known, do: {from, to}
    if length(left) == length(edges), do: left, else: circle(left)
  end

  ## Who sends what

  @senders %{
    Kernel => [:send],
    Process => [:send, :send_after],
    GenServer => [:call, :cast, :abcast, :multi_call],
    :erlang => [:send, :!, :send_after, :send_nosuspend],
    :gen => [:call],
    :gen_server => [:call, :cast, :abcast, :multi_call, :send_request],
    :gen_statem => [:call, :cast, :send_request],
    :timer => [:send_after, :send_interval]
  }
  # Of those, the ones whose second argument is not the message.
  @elsewhere [:abcast, :multi_call, {:erlang, :send_after}, {:timer, :send_after}]

  # What an answer begins with: a thing that its receiver has made.
  @answers ~w(ref alias inbox from reader)a

  # The tags of messages that a file sends and nothing in it matches. A message that begins with
  # `__MODULE__` is the module's own, and an answer is its receiver's. Where a message does not show
  # what it is, the code that sends it stands for its tag.
  defp foreign(file) do
    ast = @lib |> Path.join(file) |> File.read!() |> Code.string_to_quoted!() |> unpipe()
    {_ast, sent} = Macro.prewalk(ast, [], &{&1, sent(&1) ++ &2})
    {_ast, taken} = Macro.prewalk(ast, [], &{&1, taken(&1) ++ &2})
    {unknown, known} = Enum.split_with(Enum.reverse(sent), &is_binary/1)
    unknown ++ for tag <- Enum.uniq(known), tag not in [:own, :answer | taken], do: tag
  end

  defp unpipe(ast) do
    Macro.prewalk(ast, fn
      {:|>, _, [_left, _right]} = pipe ->
        [{first, 0} | calls] = Macro.unpipe(pipe)
        Enum.reduce(calls, first, fn {call, 0}, piped -> Macro.pipe(piped, call, 0) end)

      other ->
        other
    end)
  end

  defp sent({:send, _, [_to, message]} = call), do: sent(message, call)
  defp sent({:&, _, [{:/, _, [{:send, _, _}, _arity]}]} = capture), do: sent(nil, capture)

  defp sent({:&, _, [{:/, _, [{{:., _, [module, name]}, _, _}, _arity]}]} = capture),
    do: if(sends?(module, name), do: sent(nil, capture), else: [])

  defp sent({:apply, _, [module, name, _arguments]} = call),
    do: if(sends?(module, name), do: sent(nil, call), else: [])

  # By another name, those of a module would not be seen.
  defp sent({kind, _, [module | [_ | _]]} = call) when kind in [:alias, :import],
    do: if(is_map_key(@senders, module(module)), do: sent(nil, call), else: [])

  defp sent({:import, _, [module]} = call),
    do: if(is_map_key(@senders, module(module)), do: sent(nil, call), else: [])

  # A timer of the process's own, which tells it `{:timeout, …}`.
  defp sent({{:., _, [:erlang, :start_timer]}, _, [_time, {:self, _, _} | _]}), do: []
  defp sent({{:., _, [:erlang, :start_timer]}, _, _arguments} = call), do: sent(nil, call)

  defp sent({{:., _, [module, name]}, _, [_to, message | _]} = call) do
    cond do
      not sends?(module, name) -> []
      name in @elsewhere or {module, name} in @elsewhere -> sent(nil, call)
      true -> sent(message, call)
    end
  end

  defp sent(_other), do: []

  defp sent(message, call) do
    tag = if message, do: tag(message), else: :unknown
    [if(tag == :unknown, do: Macro.to_string(call), else: tag)]
  end

  defp sends?(module, name), do: name in Map.get(@senders, module(module), [])

  defp module({:__aliases__, _, names}), do: Module.concat(names)
  defp module(other), do: other

  # What heads of functions and clauses match.
  defp taken({:->, _, [patterns, _body]}), do: Enum.flat_map(patterns, &tags/1)

  defp taken({kind, _, [{:when, _, [head | _]} | _]}) when kind in [:def, :defp],
    do: taken({kind, [], [head]})

  defp taken({kind, _, [{_name, _, arguments} | _]})
       when kind in [:def, :defp] and is_list(arguments),
       do: Enum.flat_map(arguments, &tags/1)

  defp taken(_other), do: []

  defp tags({:when, _, parts}), do: Enum.flat_map(parts, &tags/1)
  defp tags({:=, _, parts}), do: Enum.flat_map(parts, &tags/1)
  defp tags(pattern), do: [tag(pattern)]

  defp tag({:=, _, [left, _right]}), do: tag(left)
  defp tag(atom) when is_atom(atom), do: atom
  defp tag({first, second}), do: tag({:{}, [], [first, second]})
  defp tag({:{}, _, [{:__MODULE__, _, _} | _]}), do: :own
  defp tag({:{}, _, [{:__aliases__, _, names} | _]}), do: Module.concat(names)
  defp tag({:{}, _, [first | _]}) when is_atom(first), do: first

  defp tag({:{}, _, [{name, _, context} | _]}) when name in @answers and is_atom(context),
    do: :answer

  defp tag({:%, _, [{:__aliases__, _, names}, _fields]}), do: Module.concat(names)
  defp tag(_other), do: :unknown

  ## Files and heads

  defp short("slither/" <> file), do: file
  defp short(file), do: "../" <> file

  defp lines(file),
    do: @lib |> Path.join(file) |> File.stream!() |> Enum.count()

  # A module's text, or the comment below `@moduledoc false`; a few letters say nothing.
  defp heads(file) do
    text = File.read!(Path.join(@lib, file))
    lines = String.split(text, "\n")
    {_ast, modules} = text |> Code.string_to_quoted!() |> Macro.prewalk([], &{&1, module(&1, &2)})

    for {name, head} <- Enum.reverse(modules) do
      said = if is_binary(head), do: head, else: comment(lines, head)
      {name, String.length(String.trim(said)) >= @shortest}
    end
  end

  defp module({:defmodule, _, [name, [do: body]]}, found) do
    statements = with {:__block__, _, statements} <- body, do: statements
    [{Macro.to_string(name), statements |> List.wrap() |> Enum.find_value(&head/1)} | found]
  end

  defp module(_other, found), do: found

  defp head({:@, meta, [{:moduledoc, _, [false]}]}), do: meta[:line]
  defp head({:@, _, [{:moduledoc, _, [text]}]}) when is_binary(text), do: text
  defp head({:@, _, [{:moduledoc, _, [text]}]}), do: written(text)
  defp head(_other), do: nil

  # What a sigil has, and what stands before an interpolation.
  defp written({:<<>>, _, [text | _]}), do: text
  defp written({_sigil, _, [{:<<>>, _, [text | _]} | _]}), do: text

  defp comment(_lines, nil), do: ""

  defp comment(lines, line) do
    case lines |> Enum.drop(line) |> Enum.find("", &(String.trim(&1) != "")) |> String.trim() do
      "#" <> text -> text
      _code -> ""
    end
  end
end
