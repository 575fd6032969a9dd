defmodule Slither.Dashboard.Page do
  @moduledoc false
  # The files of the page, as they stood when this was compiled: an escript has no others.

  @folder Path.join(__DIR__, "page")
  @types %{
    ".html" => "text/html; charset=utf-8",
    ".js" => "text/javascript; charset=utf-8",
    ".css" => "text/css; charset=utf-8"
  }
  @names @folder |> File.ls!() |> Enum.sort()

  for name <- @names, do: @external_resource(Path.join(@folder, name))

  @files Map.new(@names, fn name ->
           path = if name == "index.html", do: "/", else: "/" <> name
           {path, {Map.fetch!(@types, Path.extname(name)), File.read!(Path.join(@folder, name))}}
         end)

  # Mix asks: a file that is new has this compiled anew, as one that has changed does.
  @doc false
  def __mix_recompile__?, do: Enum.sort(File.ls!(@folder)) != @names

  @doc "The content type and the bytes of what stands at a path."
  @spec fetch(String.t()) :: {:ok, {String.t(), binary}} | :error
  def fetch(path), do: Map.fetch(@files, path)
end
