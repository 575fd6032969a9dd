defmodule Slither.Test.Prometheus do
  @moduledoc false
  # The real Prometheus of the machine, and its tool, for tests of what it is given.

  import ExUnit.{Assertions, Callbacks}

  alias Slither.Test.{JSON, Pools}

  @doc "What `promtool` says of a file or of a text, which it must take."
  @spec promtool!([String.t()], String.t() | nil) :: String.t()
  def promtool!(arguments, input \\ nil) do
    {told, status} =
      if input do
        path = Pools.path("input")
        File.write!(path, input)
        command = Enum.map_join(["promtool" | arguments], " ", &"'#{&1}'")
        System.cmd("sh", ["-c", "#{command} < '#{path}'"], stderr_to_stdout: true)
      else
        System.cmd("promtool", arguments, stderr_to_stdout: true)
      end

    assert status == 0, told
    told
  end

  @doc "Starts one that scrapes a port of this machine every 100 ms, with rules; its own port."
  @spec start!(:inet.port_number(), Path.t()) :: :inet.port_number()
  def start!(target, rules) do
    port = free_port()
    config = Pools.path("prometheus.yml")

    File.write!(config, """
    global: {scrape_interval: 100ms, scrape_timeout: 100ms, evaluation_interval: 100ms}
    rule_files: [#{rules}]
    scrape_configs:
      - job_name: slither
        static_configs: [{targets: ["127.0.0.1:#{target}"]}]
    """)

    arguments =
      ["--config.file=#{config}", "--storage.tsdb.path=#{Path.dirname(config)}/data"] ++
        ["--web.listen-address=127.0.0.1:#{port}"]

    # It ends with the test: its input is closed then.
    script = ~S(prometheus "$@" & pid=$!; cat > /dev/null; kill $pid)
    arguments = ["-c", script, "sh"] ++ arguments
    sh = System.find_executable("sh")
    process = Port.open({:spawn_executable, sh}, [:binary, :stderr_to_stdout, args: arguments])
    on_exit(fn -> if Port.info(process), do: Port.close(process) end)
    await_ready(process, "")
    port
  end

  defp await_ready(process, told) do
    assert_receive {^process, {:data, data}}, Pools.patience()
    told = told <> data
    unless told =~ "Server is ready", do: await_ready(process, told)
  end

  @doc "Asks it until it has an answer that is not empty: the values of a query by their labels."
  @spec await(:inet.port_number(), String.t()) :: [{labels :: map, float}]
  def await(port, query) do
    case query(port, query) do
      [] -> await(port, query)
      found -> found
    end
  end

  @doc "What a query gives now."
  @spec query(:inet.port_number(), String.t()) :: [{labels :: map, float}]
  def query(port, query) do
    found = get(port, "/api/v1/query?" <> URI.encode_query(%{"query" => query}))
    assert found["status"] == "success", "#{query}: #{inspect(found)}"

    for %{"metric" => labels, "value" => [_at, value]} <- found["data"]["result"],
        {value, ""} <- [Float.parse(value)],
        do: {labels, value}
  end

  @doc "The rules that it has, once it has evaluated each."
  @spec rules(:inet.port_number()) :: [map]
  def rules(port) do
    groups = get(port, "/api/v1/rules")["data"]["groups"]
    rules = Enum.flat_map(groups, & &1["rules"])
    if rules == [] or Enum.any?(rules, &(&1["health"] == "unknown")), do: rules(port), else: rules
  end

  @doc "The answer of its API at a path."
  @spec get(:inet.port_number(), String.t()) :: map
  def get(port, path) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET #{path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    [_head, body] = socket |> read("") |> String.split("\r\n\r\n", parts: 2)
    JSON.read!(body)
  end

  defp read(socket, read) do
    case :gen_tcp.recv(socket, 0, Pools.patience()) do
      {:ok, data} -> read(socket, read <> data)
      {:error, :closed} -> read
    end
  end

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end
end
