import Config

config :slither,
  stores: [],
  pools: []

config :logger, level: :info

if config_env() == :test, do: import_config("test.exs")
