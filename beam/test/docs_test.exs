defmodule Slither.DocsTest do
  # What the README and the guides show runs as it stands there: Python blocks become files,
  # configuration is evaluated and its pools and stores are started, Elixir blocks run in order.
  # Not async: the documents use the default pool.
  use ExUnit.Case, async: false

  @root Path.expand("../..", __DIR__)
  @documents ["README.md" | Path.wildcard(Path.join(@root, "guides/*.md"))]

  for document <- @documents do
    name = Path.basename(document)

    @tag :tmp_dir
    test "the code of #{name} runs", %{tmp_dir: dir} do
      blocks = blocks(Path.expand(unquote(document), @root))
      for {"python", text} <- blocks, do: File.write!(Path.join(dir, file_name(text)), text)

      binding =
        Enum.reduce(blocks, [], fn
          {"elixir", "# mix.exs" <> _ = text}, binding ->
            Code.string_to_quoted!(text)
            binding

          {"elixir", "# config/" <> _ = text}, binding ->
            configure(text, dir)
            binding

          {"elixir", text}, binding ->
            {_value, binding} = Code.eval_string(text, binding, file: unquote(document))
            binding

          {_language, _text}, binding ->
            binding
        end)

      assert is_list(binding)
    end

    test "the make targets that #{name} names exist" do
      path = Path.expand(unquote(document), @root)
      makefile = File.read!(Path.join(@root, "Makefile"))

      for {"sh", text} <- blocks(path), [_, target] <- Regex.scan(~r/^make (\S+)/m, text) do
        assert makefile =~ ~r/^#{target}:/m, "no target #{target}"
      end
    end
  end

  defp configure(text, dir) do
    path = Path.join(dir, "runtime.exs")
    File.write!(path, text)
    config = Config.Reader.read!(path)[:slither]

    if functions = config[:functions] do
      Application.put_env(:slither, :functions, functions)
      on_exit(fn -> Application.delete_env(:slither, :functions) end)
    end

    for store <- config[:stores] || [], do: start_supervised!({Slither.Store.Server, store})

    for {name, options} <- config[:pools] || [], is_map_key(pools(), name) == false do
      paths = [dir | options[:paths] || []]

      start_supervised!(
        {Slither.Python.Pool, [name: name] ++ Keyword.put(options, :paths, paths)}
      )
    end

    for {name, options} <- config[:gathers] || [],
        do: start_supervised!({Slither.Gather, [name: name] ++ options})
  end

  defp pools do
    for name <- [:default], match?({:ok, _}, Slither.Python.Pool.handle(name)), into: %{} do
      {name, true}
    end
  end

  defp file_name("# " <> text), do: text |> String.split("\n", parts: 2) |> hd()

  defp blocks(path) do
    for [_, language, text] <- Regex.scan(~r/^```(\w+)\n(.*?)^```/ms, File.read!(path)),
        do: {language, text}
  end
end
