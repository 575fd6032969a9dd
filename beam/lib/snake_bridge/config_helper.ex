unless Code.ensure_loaded?(SnakeBridge.ConfigHelper) do
  defmodule SnakeBridge.ConfigHelper do
    @moduledoc """
    Stands in for SnakeBridge's helper of this name where that library is not loaded, so that
    a `config/runtime.exs` written for it configures Slither's own pool.
    """

    alias Slither.Options

    @options [
      pool_size: [type: :pos_integer, default: 2, doc: "Workers of the default pool."],
      python: [type: :string, doc: "The interpreter."]
    ]

    @doc """
    Configures the default pool: `pool_size` workers and, if given, their `python`.

    Call it in `config/runtime.exs`, after `import Config`.

    ## Options

    #{Options.docs(@options)}
    """
    @spec configure_snakepit!(keyword) :: :ok
    def configure_snakepit!(options \\ []) do
      options = Options.validate!(options, @options, "SnakeBridge.ConfigHelper")
      default = [size: options[:pool_size]] ++ Keyword.take(options, [:python])
      pools = Application.get_env(:slither, :pools) || []
      # Persistent, or loading the application would put its own default back.
      pools = Keyword.put(pools, :default, default)
      Application.put_env(:slither, :pools, pools, persistent: true)
    end
  end
end
