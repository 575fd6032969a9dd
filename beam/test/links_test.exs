defmodule Slither.LinksTest do
  # Whatever the documents point at is there: files, headings, guides, events, errors.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)
  @guides Path.wildcard(Path.join(@root, "guides/*.md"))
  @folders ~w(*.md examples/**/*.md protocol/*.md guides/*.md)
  @documents Enum.flat_map(@folders, &Path.wildcard(Path.join(@root, &1)))

  # `Slither.Module` or `Slither.Module.function/1`, in code quotes.
  @named ~r{`(Slither(?:\.[A-Z]\w*)*)(?:\.([a-z]\w*[?!]?)/(\d))?`}

  for path <- @documents do
    name = Path.relative_to(path, @root)

    test "the links of #{name} lead to files and headings that exist" do
      path = unquote(path)

      broken =
        for link <- links(path), not String.starts_with?(link, "http"), not leads?(path, link) do
          link
        end

      assert broken == []
    end
  end

  test "the README lists every guide" do
    listed = links(Path.join(@root, "README.md"))
    assert for(path <- @guides, Path.relative_to(path, @root) not in listed, do: path) == []
  end

  test "the modules and functions that documents name are there" do
    wrong =
      for path <- [Path.join(@root, "README.md") | @guides],
          [text | named] <- Regex.scan(@named, File.read!(path)),
          not named?(named),
          do: {Path.basename(path), text}

    assert wrong == []
    refute named?(["Slither.NoSuchModule"])
    refute named?(["Slither", "no_such_function", "1"])
  end

  test "a link to a heading that isn't there is broken" do
    readme = Path.join(@root, "README.md")
    assert leads?(readme, "CONTRIBUTING.md#landing-a-change")
    refute leads?(readme, "CONTRIBUTING.md#no-such-heading")
    refute leads?(readme, "#no-such-heading")
    refute leads?(readme, "NO_SUCH_FILE.md")
  end

  defp named?([module]), do: Code.ensure_loaded?(Module.concat([module]))

  defp named?([module, function, arity]) do
    name = {String.to_atom(function), String.to_integer(arity)}
    module = Module.concat([module])
    named?([module]) and (name in module.module_info(:exports) or name in callbacks(module))
  end

  defp callbacks(module) do
    if function_exported?(module, :behaviour_info, 1),
      do: module.behaviour_info(:callbacks),
      else: []
  end

  defp leads?(from, link) do
    {file, heading} =
      case String.split(link, "#", parts: 2) do
        [file, heading] -> {file, heading}
        [file] -> {file, nil}
      end

    path = if file == "", do: from, else: Path.expand(file, Path.dirname(from))
    File.exists?(path) and (heading == nil or heading in headings(path))
  end

  defp links(path) do
    for [_, link] <- Regex.scan(~r/\]\(([^)\s]+)\)/, prose(path)), do: link
  end

  # As GitHub makes anchors of headings.
  defp headings(path) do
    for [_, title] <- Regex.scan(~r/^#+ +(.+)$/m, prose(path)) do
      title
      |> String.downcase()
      |> String.replace(~r/[^\p{L}\p{N}\s_-]/u, "")
      |> String.replace(" ", "-")
    end
  end

  defp prose(path), do: path |> File.read!() |> String.replace(~r/^ *```.*?^ *```/ms, "")
end
