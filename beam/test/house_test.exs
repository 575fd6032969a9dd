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
    run: [:ground, :protocol, :python, :pool],
    dispatch: [:ground, :protocol, :python, :pool, :run],
    expression: [:ground],
    store: [:ground],
    bridge: [:ground, :store],
    pipe: [:ground, :expression, :store, :pool, :run, :dispatch],
    driver: [:ground, :protocol, :store, :python, :pool, :run, :dispatch, :pipe],
    tools: [:ground, :protocol, :python, :pool, :dispatch, :pipe],
    top: [:ground, :protocol, :store, :python, :pool, :dispatch, :pipe, :tools]
  ]

  # Files that stand beside the folders. Any other is its folder's, as `pool.ex` is `pool/`'s.
  @stand_alone %{
    ground:
      ~w(error item context options guarded bytes tensor receipt lock leftovers telemetry telemetry/events),
    pool: ~w(session),
    pipe: ~w(stage),
    tools: ~w(doctor testing),
    top: ~w(application)
  }
  @folders %{"stage" => :pipe, "testing" => :tools}

  # Who knows a room above or beside its own.
  @edges []

  # Files that may be longer than any.
  @long ~w()

  # What is sent past the module that takes it. Watchers tell processes of the user's own.
  @sends %{
    "store/watchers.ex" => [Slither.Store]
  }

  # Modules without a head.
  @headless []

  @tag timeout: 300_000
  test "a folder knows only those below it, and no file is in a circle" do
    for {room, known} <- @rooms,
        {before, [_ | _]} = Enum.split_while(Keyword.keys(@rooms), &(&1 != room)),
        do: assert(known -- before == [], "#{room} lists a room that stands above it")

    edges = edges()
    assert edges != []
    up = for {from, to} <- edges, not allowed?(room(from), room(to)), do: {from, to}
    assert_exceptions(up, @edges, "These know a room that theirs may not")
    assert circle(edges) == [], "these files are in a circle, or know one that is"
  end

  test "messages are sent by the module whose process takes them" do
    bare = for file <- @files, tag <- foreign(file), do: {short(file), tag}
    listed = for {file, tags} <- @sends, tag <- tags, do: {file, tag}
    assert_exceptions(Enum.uniq(bare), listed, "These send what their own module does not take")
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

  ## Who knows whom, as the compiler noted it

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

  # The tags of messages that a file sends and nothing in it matches. A message that begins with
  # `__MODULE__` is the module's own, and an answer, which begins with a reference that its receiver
  # has made, is that receiver's.
  defp foreign(file) do
    ast = @lib |> Path.join(file) |> File.read!() |> Code.string_to_quoted!()
    {_ast, sent} = Macro.prewalk(ast, [], &{&1, sent(&1) ++ &2})
    {_ast, taken} = Macro.prewalk(ast, [], &{&1, taken(&1) ++ &2})
    Enum.reverse(for tag <- Enum.uniq(sent), tag not in [:own, :answer | taken], do: tag)
  end

  defp sent({:send, _, [_to, message]}), do: [tag(message)]
  defp sent({{:., _, [{_, _, [:Kernel]}, :send]}, _, [_to, message]}), do: [tag(message)]
  defp sent({{:., _, [:erlang, :send]}, _, [_to, message | _]}), do: [tag(message)]

  defp sent({{:., _, [{_, _, [:Process]}, sending]}, _, [_to, message | _]})
       when sending in [:send, :send_after],
       do: [tag(message)]

  defp sent({{:., _, [{_, _, [:GenServer]}, sending]}, _, [_to, message | _]})
       when sending in [:call, :cast],
       do: [tag(message)]

  defp sent(_other), do: []

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
  defp tag({:{}, _, [_reference | _]}), do: :answer
  defp tag({:%, _, [{:__aliases__, _, names}, _fields]}), do: Module.concat(names)
  defp tag(_variable), do: :unknown

  ## Files and heads

  defp short("slither/" <> file), do: file
  defp short(file), do: "../" <> file

  defp lines(file),
    do: @lib |> Path.join(file) |> File.stream!() |> Enum.count()

  # A module's text, or the comment below `@moduledoc false`.
  defp heads(file) do
    text = File.read!(Path.join(@lib, file))

    for [_, name, head] <-
          Regex.scan(
            ~r/^ *defmodule ([\w.]+) do\n(.*?)^ *(?:defp?|defmacro|defmodule|defstruct|defexception|@impl)\b/ms,
            text
          ),
        do: {name, head =~ ~r/@moduledoc (~S)?"/ or head =~ ~r/@moduledoc false\n+ *#/}
  end
end
