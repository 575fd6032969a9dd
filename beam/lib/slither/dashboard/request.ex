defmodule Slither.Dashboard.Request do
  @moduledoc false
  # A request as `httpd` gives it, read into what the gate and the routes look at. Pure.

  @enforce_keys [:method, :path, :query, :headers]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          method: String.t(),
          path: String.t(),
          query: %{optional(String.t()) => String.t()},
          headers: [{String.t(), String.t()}]
        }

  @doc """
  Reads the method, the address and the headers, which are lists of bytes.

      iex> request = Slither.Dashboard.Request.new(~c"GET", ~c"/stack?pool=a%20b&worker=1", [{~c"host", ~c"x"}])
      iex> {request.path, request.query}
      {"/stack", %{"pool" => "a b", "worker" => "1"}}
  """
  @spec new(charlist, charlist, [{charlist, charlist}]) :: t
  def new(method, uri, headers) do
    {path, query} =
      case uri |> text() |> String.split("?", parts: 2) do
        [path, query] -> {path, query(query)}
        [path] -> {path, %{}}
      end

    headers = for {name, value} <- headers, do: {String.downcase(text(name)), text(value)}
    %__MODULE__{method: text(method), path: path, query: query, headers: headers}
  end

  @doc "All headers of a name."
  @spec all(t, String.t()) :: [String.t()]
  def all(request, name), do: for({^name, value} <- request.headers, do: value)

  @doc "The header of a name, nil where there is none; the last where it stands several times."
  @spec one(t, String.t()) :: String.t() | nil
  def one(request, name), do: request |> all(name) |> List.last()

  # A query that is none has no parameters.
  defp query(text) do
    for {key, value} <- URI.decode_query(text),
        String.valid?(key),
        String.valid?(value),
        into: %{} do
      {key, value}
    end
  rescue
    ArgumentError -> %{}
  end

  # Bytes, whatever they are.
  defp text(bytes), do: :erlang.list_to_binary(bytes)
end
