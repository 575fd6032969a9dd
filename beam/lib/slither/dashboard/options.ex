defmodule Slither.Dashboard.Options do
  @moduledoc false
  # What a dashboard is asked to be, checked in the caller: `true`, a port, or options. Pure, apart
  # from a token that is made where one is needed.

  alias Slither.{Error, Options}

  @where "dashboard"
  # Where it is looked for first, and how many ports are tried where none was named.
  @first 4040
  @tries 20
  # Bytes of a token that is made; letters that one of the user's has at least.
  @random 24
  @shortest 16

  @table [
    port: [
      type: {:custom, "a port (0 to 65535; 0 for any that is free)", &__MODULE__.port?/1},
      doc:
        "The port, which must be free. Without it, #{@first} or the next free one of #{@tries}."
    ],
    ip: [
      type: {:custom, "an IP address, as a tuple or a string", &__MODULE__.ip?/1},
      default: {127, 0, 0, 1},
      doc: "The address to listen on. Any other than loopback takes a token to look in."
    ],
    token: [
      type:
        {:custom, "a string of #{@shortest} or more letters, digits, `-`, `_`, `.` and `~`",
         &__MODULE__.token?/1},
      doc: "What viewers show. Where one is needed and none is given, it is made and told."
    ],
    hosts: [
      type: {:list, :string},
      default: [],
      doc:
        "Names, beside `localhost`, by which browsers may ask on loopback: those of a proxy before it."
    ],
    max_clients: [
      type: :pos_integer,
      default: 64,
      doc: "Connections at one time; further ones are told to come again."
    ],
    name: [
      type: :atom,
      doc: "The name of its process, for `url/1`: `Slither.Dashboard` unless given."
    ]
  ]

  # For tests, and for pages of another node's data.
  @inner [
    snapshot: [type: {:fun, 0}],
    metrics: [type: {:fun, 0}],
    stack: [type: {:fun, 2}],
    fresh: [type: :pos_integer, default: 500],
    patience: [type: :pos_integer, default: 10_000],
    # ms within which a viewer takes what it asked for; one that does not holds a connection no longer.
    slow: [type: :pos_integer, default: 10_000],
    # Whether the log tells where it is.
    tell: [type: :boolean, default: true]
  ]

  @typedoc "Checked options; `ports` are tried one after the other."
  @type t :: %{
          ports: [:inet.port_number()],
          named: boolean,
          ip: :inet.ip_address(),
          loopback: boolean,
          token: String.t() | nil,
          made: boolean,
          hosts: [String.t()],
          max_clients: pos_integer,
          name: atom | nil,
          makers: %{snapshot: fun | nil, metrics: fun | nil, stack: fun | nil},
          fresh: pos_integer,
          patience: pos_integer,
          slow: pos_integer,
          tell: boolean
        }

  @doc "The options, for docs."
  @spec table() :: Options.table()
  def table, do: @table

  @doc """
  Reads what somebody asked for.

      iex> {:ok, options} = Slither.Dashboard.Options.check(port: 4041)
      iex> {options.ports, options.ip, options.token}
      {[4041], {127, 0, 0, 1}, nil}

      iex> {:error, error} = Slither.Dashboard.Options.check(port: 99_999)
      iex> Exception.message(error)
      "dashboard: option :port takes a port (0 to 65535; 0 for any that is free), got 99999"
  """
  @spec check(term) :: {:ok, t} | {:error, Error.t()}
  def check(true), do: check([])
  def check(port) when is_integer(port), do: check(port: port)

  def check(options) do
    {inner, own} =
      if Keyword.keyword?(options),
        do: Keyword.split(options, Keyword.keys(@inner)),
        else: {[], options}

    with {:ok, own} <- Options.validate(own, @table, @where),
         {:ok, inner} <- Options.validate(inner, @inner, @where),
         do: {:ok, (own ++ inner) |> Map.new() |> settled()}
  end

  @doc """
  Reads what came as data: true, a port, or a map with strings for names. Who sends it tells where
  the page is.
  """
  @spec from_wire(term) :: {:ok, t} | {:error, Error.t()}
  def from_wire(%{} = values) do
    case Options.from_wire(values, @table) do
      {:ok, options} ->
        check([tell: false] ++ options)

      {:unknown, name} ->
        names = @table |> Keyword.delete(:name) |> Keyword.keys() |> Enum.map(&Atom.to_string/1)

        {:error,
         %Error{
           reason: :unknown_option,
           where: @where,
           message: "no option is called #{inspect(name)}.#{Options.nearest(name, names)}",
           hint: "known: #{Enum.join(names, ", ")}"
         }}
    end
  end

  def from_wire(true), do: check(tell: false)
  def from_wire(port) when is_integer(port), do: check(port: port, tell: false)
  def from_wire(value), do: check(value)

  defp settled(options) do
    ip = address(options.ip)
    loopback = loopback?(ip)
    given = options[:token]
    made = given == nil and not loopback
    port = options[:port]

    %{
      ports: if(port, do: [port], else: Enum.to_list(@first..(@first + @tries - 1))),
      named: port != nil,
      ip: ip,
      loopback: loopback,
      token: if(made, do: random(), else: given),
      made: made,
      hosts: Enum.map(options.hosts, &String.downcase/1),
      max_clients: options.max_clients,
      name: options[:name],
      makers: %{
        snapshot: options[:snapshot],
        metrics: options[:metrics],
        stack: options[:stack]
      },
      fresh: options.fresh,
      patience: options.patience,
      slow: options.slow,
      tell: options.tell
    }
  end

  # The system's own source, as `crypto` need not be among a program's applications.
  defp random do
    bytes = File.open!("/dev/urandom", [:read, :raw, :binary], &IO.binread(&1, @random))
    Base.url_encode64(bytes, padding: false)
  end

  defp loopback?({127, _, _, _}), do: true
  defp loopback?({0, 0, 0, 0, 0, 0, 0, 1}), do: true
  defp loopback?(_ip), do: false

  @doc false
  @spec port?(term) :: boolean
  def port?(value), do: is_integer(value) and value in 0..65_535

  @doc false
  @spec ip?(term) :: boolean
  def ip?(value), do: address(value) != nil

  @doc false
  @spec token?(term) :: boolean
  def token?(value), do: is_binary(value) and value =~ ~r/\A[A-Za-z0-9._~-]{#{@shortest},}\z/

  defp address(text) when is_binary(text) do
    case :inet.parse_strict_address(String.to_charlist(text)) do
      {:ok, ip} -> ip
      {:error, _reason} -> nil
    end
  end

  defp address(ip) when is_tuple(ip), do: if(:inet.is_ip_address(ip), do: ip)
  defp address(_other), do: nil
end
