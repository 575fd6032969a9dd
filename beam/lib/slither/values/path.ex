defmodule Slither.Path do
  @moduledoc """
  A path of files: a `pathlib` path in Python.

    * `flavour`: `:path`, a `Path` of the machine that has it; `:pure_posix` or `:pure_windows`, a
      `PurePosixPath` or `PureWindowsPath`;
    * `data`: the path, as bytes that need not be UTF-8 (those of `os.fsencode`).

  In Elixir a path is a text, and the functions of `Path` and `File` take `to_string/1` of this one.

      iex> path = Slither.Path.new("data/a.csv")
      iex> path |> to_string() |> Path.basename()
      "a.csv"

  Python takes what says nothing out of a path: `a//b/./c/` comes back as `a/b/c`.
  """

  @enforce_keys [:data]
  defstruct flavour: :path, data: nil

  @type flavour :: :path | :pure_posix | :pure_windows
  @type t :: %__MODULE__{flavour: flavour, data: binary}

  @doc """
  The path of a text.

      iex> Slither.Path.new("C:\\\\data", :pure_windows).flavour
      :pure_windows
  """
  @spec new(binary, flavour) :: t
  def new(data, flavour \\ :path)
      when is_binary(data) and flavour in [:path, :pure_posix, :pure_windows],
      do: %__MODULE__{data: data, flavour: flavour}

  @doc false
  # What two paths share that are the same in Python; case says nothing on Windows.
  @spec plain(t) :: {:posix | :windows, binary}
  def plain(%__MODULE__{flavour: :pure_windows, data: data}),
    do: {:windows, data |> lower() |> String.replace("/", "\\") |> parts("\\")}

  def plain(%__MODULE__{data: data}), do: {:posix, parts(data, "/")}

  defp lower(data), do: if(String.valid?(data), do: String.downcase(data), else: data)

  # A root of two separators is another one than that of one, or of more.
  defp parts(data, by) do
    {root, rest} =
      case :binary.split(data, by) do
        ["", <<^by::binary-1, rest::binary>>] when binary_part(rest, 0, 0) == "" ->
          if String.starts_with?(rest, by), do: {by, rest}, else: {by <> by, rest}

        ["", rest] ->
          {by, rest}

        _ ->
          {"", data}
      end

    parts = for part <- :binary.split(rest, by, [:global]), part not in ["", "."], do: part
    if root == "" and parts == [], do: ".", else: root <> Enum.join(parts, by)
  end

  defimpl String.Chars do
    def to_string(%{data: data}), do: data
  end

  defimpl Inspect do
    def inspect(%{flavour: :path, data: data}, _options) when is_binary(data),
      do: "Slither.Path.new(#{Kernel.inspect(data)})"

    def inspect(%{flavour: flavour, data: data}, _options),
      do: "Slither.Path.new(#{Kernel.inspect(data)}, #{Kernel.inspect(flavour)})"
  end
end
