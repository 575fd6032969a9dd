defmodule Slither.Dashboard.Page do
  @moduledoc false
  # The page's three files, as they stood when this was compiled: an escript has no others.

  @folder Path.join(__DIR__, "page")
  @types %{
    "index.html" => "text/html; charset=utf-8",
    "app.js" => "text/javascript; charset=utf-8",
    "style.css" => "text/css; charset=utf-8"
  }

  for name <- Map.keys(@types), do: @external_resource(Path.join(@folder, name))

  @files Map.new(@types, fn {name, type} ->
           {name, {type, File.read!(Path.join(@folder, name))}}
         end)

  @doc "The content type and the bytes of a file."
  @spec file(String.t()) :: {String.t(), binary}
  def file(name), do: Map.fetch!(@files, name)
end
