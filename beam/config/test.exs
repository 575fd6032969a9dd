import Config

config :logger, level: :warning

# Not the user's.
config :slither, env_cache: Path.expand("../../_build/test-envs", __DIR__)

# Each test names its own pools and pipes, thousands in all.
config :slither, max_series: 1_000_000
