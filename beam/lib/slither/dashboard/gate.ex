defmodule Slither.Dashboard.Gate do
  @moduledoc false
  # Who may look in. Pure; the process of a connection asks it before anything else is done.
  #
  # On loopback every program of the machine may, but no page of the web that a browser on it shows:
  # such a page can have its own name lead to 127.0.0.1 (so the name that was asked for must be one
  # of loopback), and can have the browser fetch from here (which browsers say of themselves).
  # Elsewhere, a token. Comparing takes a time that says nothing of it but its length.

  alias Slither.Dashboard.Request

  # No log and no crash report shows the token.
  @derive {Inspect, except: [:token]}
  @enforce_keys [:loopback, :token, :hosts, :cookie]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          loopback: boolean,
          token: String.t() | nil,
          hosts: [String.t()],
          cookie: String.t()
        }

  @typedoc "A refusal: the status, and what to say."
  @type refusal :: {pos_integer, String.t()}

  # A year.
  @age 31_536_000

  @doc "The gate of checked options, for a server on `port`."
  @spec new(Slither.Dashboard.Options.t(), :inet.port_number()) :: t
  def new(options, port) do
    # Cookies belong to a host, whatever its port: each dashboard has a name of its own.
    %__MODULE__{
      loopback: options.loopback,
      token: options.token,
      hosts: options.hosts,
      cookie: "slither_#{port}"
    }
  end

  @doc """
  Whether a request may come in. `{:token, cookie}` says that it showed the token in its address, and
  gives what the browser shall show from now on.
  """
  @spec check(t, Request.t()) :: :ok | {:token, String.t()} | {:error, refusal}
  def check(gate, request) do
    with :ok <- host(gate, request), :ok <- site(request), do: token(gate, request)
  end

  defp host(%{loopback: false}, _request), do: :ok

  defp host(gate, request) do
    case Request.all(request, "host") do
      [host] ->
        name = name(host)

        if name in ["localhost", "[::1]"] or name in gate.hosts or ipv4_loopback?(name),
          do: :ok,
          else: refused(403, "This page is for localhost, not for #{inspect(name)}.")

      _none_or_many ->
        refused(400, "A request says once which host it asks.")
    end
  end

  defp name(host), do: host |> String.downcase() |> String.replace(~r/:\d*\z/, "")

  defp ipv4_loopback?(name), do: name =~ ~r/\A127(\.\d{1,3}){3}\z/

  # What is opened by a link on another page shows itself, and nothing to that page.
  defp site(request) do
    case {Request.one(request, "sec-fetch-site"), Request.one(request, "sec-fetch-mode")} do
      {site, _mode} when site in [nil, "same-origin", "none"] -> :ok
      {_site, "navigate"} when request.path == "/" -> :ok
      _other -> refused(403, "Pages of other sites may not ask.")
    end
  end

  defp token(%{token: nil}, _request), do: :ok

  defp token(gate, request) do
    cond do
      same?(gate.token, request.query["token"]) -> {:token, cookie(gate)}
      same?(gate.token, bearer(request)) -> :ok
      gate.cookie |> cookies(request) |> Enum.any?(&same?(gate.token, &1)) -> :ok
      true -> refused(401, "Open it with ?token=… as it was told, or send it as a bearer token.")
    end
  end

  defp bearer(request) do
    case Request.all(request, "authorization") do
      [text] ->
        case String.split(text, " ", parts: 2) do
          [scheme, token] -> if String.downcase(scheme) == "bearer", do: String.trim(token)
          _other -> nil
        end

      _none_or_many ->
        nil
    end
  end

  defp cookies(name, request) do
    for line <- Request.all(request, "cookie"),
        pair <- String.split(line, ";"),
        [^name, value] <- [pair |> String.trim() |> String.split("=", parts: 2)],
        do: value
  end

  defp cookie(gate),
    do: "#{gate.cookie}=#{gate.token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=#{@age}"

  @doc """
  Whether two strings are the same, in a time that does not depend on where they differ.

      iex> {Slither.Dashboard.Gate.same?("abc", "abc"), Slither.Dashboard.Gate.same?("abc", "abd")}
      {true, false}
  """
  @spec same?(binary, binary | nil) :: boolean
  def same?(_token, nil), do: false

  def same?(token, shown) when byte_size(token) == byte_size(shown),
    do: differing(token, shown, 0) == 0

  def same?(_token, _shown), do: false

  defp differing(<<a, token::binary>>, <<b, shown::binary>>, found),
    do: differing(token, shown, Bitwise.bor(found, Bitwise.bxor(a, b)))

  defp differing(<<>>, <<>>, found), do: found

  defp refused(status, text), do: {:error, {status, text}}
end
