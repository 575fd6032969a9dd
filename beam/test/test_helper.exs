# What a test logs is shown only where it fails. A busy machine takes its time; nothing waits this
# long unless something is wrong.
ExUnit.start(capture_log: true, assert_receive_timeout: 60_000, timeout: 300_000)
