defmodule Slither.OTP do
  @moduledoc false
  # Finds the applications of Erlang/OTP that Slither uses where they are installed and does not ask
  # for. Mix takes off the code path what a project does not name, and few name inets. Called by the
  # dashboard and by the exporter of spans, each before its first use of one.

  # A module of each, which is there where the application is.
  @modules [inets: :httpd_util, crypto: :crypto, asn1: :asn1rt_nif, public_key: :public_key] ++
             [ssl: :ssl]

  @doc """
  Whether an application is there, below `root`; it is on the code path then.

      iex> Slither.OTP.found?(:crypto)
      true
  """
  @spec found?(:inets | :crypto | :asn1 | :public_key | :ssl, charlist) :: boolean
  def found?(application, root \\ :code.root_dir()) do
    module = Keyword.fetch!(@modules, application)

    Code.ensure_loaded?(module) or
      Enum.any?(Path.wildcard("#{root}/lib/#{application}-*/ebin"), fn folder ->
        :code.add_pathz(String.to_charlist(folder)) == true and Code.ensure_loaded?(module)
      end)
  end
end
