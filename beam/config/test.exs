import Config

config :logger, level: :warning

# Not the user's.
config :slither, env_cache: Path.expand("../../_build/test-envs", __DIR__)
