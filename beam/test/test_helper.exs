# What a test logs is shown only where it fails.
ExUnit.start(capture_log: true)
