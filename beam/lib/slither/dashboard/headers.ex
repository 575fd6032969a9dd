defmodule Slither.Dashboard.Headers do
  @moduledoc false
  # Headers of every answer, those of inets' own errors among them. `httpd` calls it for each, in the
  # process of a connection.

  # The page has nothing that another host gave, and nobody frames it or keeps it.
  @always [
    {~c"content-security-policy",
     ~c"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {~c"x-content-type-options", ~c"nosniff"},
    {~c"x-frame-options", ~c"DENY"},
    {~c"referrer-policy", ~c"no-referrer"},
    {~c"cross-origin-resource-policy", ~c"same-origin"},
    {~c"cross-origin-opener-policy", ~c"same-origin"},
    {~c"cache-control", ~c"no-store"}
  ]

  @typep header :: {charlist, charlist}

  @spec response_default_headers() :: [header]
  def response_default_headers, do: @always
  @spec response_header(header) :: {true, header}
  def response_header(header), do: {true, header}
  @spec request_header(header) :: {true, header}
  def request_header(header), do: {true, header}
end
