defmodule Slither.MetricsTest do
  # What is written of all that runs: each metric of the table, in a text that Prometheus' own tool
  # takes, and that the real one reads.
  use ExUnit.Case, async: true

  import Slither.Test.Pools

  alias Slither.{Bridge, Metrics, Pipe, Session}
  alias Slither.Metrics.{Definitions, Text}
  alias Slither.Store.Server
  alias Slither.Test.{JSON, Prometheus, Stores}

  doctest Slither.Metrics
  doctest Slither.Metrics.Text

  @folder Path.expand("../../guides/observability", __DIR__)
  @rules Path.join(@folder, "slither.rules.yml")
  @dashboard Path.join(@folder, "grafana/slither.json")
  # What somebody who is on call asks for.
  @core ~w(pool_oldest_wait_seconds pool_wait_seconds pool_busy_seconds_total pool_workers) ++
          ~w(worker_ends_total worker_resident_memory_bytes items_total items_inside) ++
          ~w(batch_duration_seconds batch_phase_seconds_total retries_total view_calls_total) ++
          ~w(view_duration_seconds store_writes_total table_rows sessions) ++
          ~w(pipe_last_output_timestamp_seconds build_info)
  # What a name has that is of a part of a histogram.
  @parts ~r/_(bucket|sum|count)$/

  defp values(name, labels) do
    for %{name: ^name} = sample <- Metrics.read(),
        Enum.all?(labels, &(&1 in sample.labels)),
        do: sample[:value] || sample[:count]
  end

  defp value(name, labels) do
    assert [value] = values(name, labels)
    value
  end

  # A pool with a batch, a death, a session, a stage of a pipe that gives outputs, a store with a view.
  defp busy do
    pool = ready_pool(size: 2, max_queue: 7)
    target = [module: "flow_handlers", function: "identity", pool: pool]
    {:ok, _items} = Slither.dispatch(1..10, target ++ [batch_size: 5])
    {:ok, _items} = Slither.dispatch([1], target ++ [session_id: "metrics-#{pool}"])
    {:error, _error} = call(pool, "leave", 3)
    await_up(pool)

    pipe = Pipe.build!(unique(:metrics), [{:stage, 1, :same, :python, target}])
    {:ok, _outputs} = Slither.run_pipe(pipe, 1..3)

    view = "metrics_view_#{System.unique_integer([:positive])}"
    views = [%{name: view, handler: fn _params -> 1 end, scope: :global}]
    store = Stores.start(views: views)
    :ok = Server.put(store, :items, 1, 1)
    {:ok, 1} = Bridge.call(view, %{})
    %{pool: pool, pipe: pipe.name, store: store, view: view}
  end

  test "pools, workers, batches, pipes, stores and views are told of" do
    %{pool: name, pipe: pipe, store: store, view: view} = busy()
    of = [pool: Atom.to_string(name)]
    of_stage = of ++ [pipe: "", stage: "flow_handlers.identity"]

    assert value("slither_batch_duration_seconds", of_stage) == 3
    assert value("slither_batch_phase_seconds_total", of_stage ++ [phase: "handler"]) > 0
    assert value("slither_batch_failures_total", of ++ [reason: "worker_died"]) == 1
    assert value("slither_worker_ends_total", of ++ [reason: "worker_died"]) == 1
    assert value("slither_worker_ends_total", of ++ [reason: "timeout"]) == 0
    assert value("slither_worker_starts_total", of) == 3
    assert value("slither_worker_start_seconds", of) == 3
    assert value("slither_pool_wait_seconds", of) >= 3
    assert value("slither_pool_max_queue", of) == 7
    assert value("slither_pool_queue", of) == 0
    assert value("slither_pool_oldest_wait_seconds", of) == 0.0
    assert value("slither_pool_busy_seconds_total", of) > 0
    assert value("slither_sessions", of) == 1
    assert Enum.sum(values("slither_pool_workers", of)) >= 2
    assert [_ | _] = rss = values("slither_worker_resident_memory_bytes", of)
    assert Enum.all?(rss, &(&1 > 1_000_000))

    pipe = Atom.to_string(pipe)
    assert value("slither_items_total", pipe: pipe, stage: "same", outcome: "ok") == 3
    assert value("slither_outputs_total", pipe: pipe, output: "default") == 3
    last = value("slither_pipe_last_output_timestamp_seconds", pipe: pipe)
    assert_in_delta last, System.system_time(:millisecond) / 1_000, patience() / 1_000

    store = inspect(store)
    assert value("slither_store_writes_total", store: store, table: "items") == 1
    assert value("slither_table_rows", store: store, table: "items") == 1
    assert value("slither_view_calls_total", view: view, outcome: "ok") == 1
    assert value("slither_view_duration_seconds", view: view) == 1
    :ok = Session.stop("metrics-#{name}")
    assert value("slither_sessions", of) == 0
  end

  @tag :prometheus
  test "the text is as Prometheus has it, whatever is in the names" do
    odd = "a\\b\"c\nd é"
    samples = [%{name: "odd", type: :gauge, help: odd, labels: [name: odd], value: 0.25}]
    text = IO.iodata_to_binary(Text.of(samples))
    assert text =~ ~S(odd{name="a\\b\"c\nd é"} 0.25)

    sample = %{name: "h", type: :histogram, help: "h.", labels: [], buckets: [{0.5, 1}, {1, 3}]}
    text = IO.iodata_to_binary(Text.of([Map.merge(sample, %{sum: :nan, count: 4})]))

    assert text =~
             "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum NaN\nh_count 4\n"

    Prometheus.promtool!(["check", "metrics"], IO.iodata_to_binary(Text.of(samples)))
  end

  @tag :prometheus
  test "promtool takes all metrics, and finds nothing to mend in them" do
    busy()
    # What handlers count of their own is named by them.
    ours = Enum.filter(Metrics.read(), &String.starts_with?(&1.name, "slither_"))
    text = IO.iodata_to_binary(Text.of(ours))
    assert Prometheus.promtool!(["check", "metrics"], text) == ""
    assert text =~ "slither_batch_duration_seconds_bucket{"
  end

  test "every metric has a line of help and labels that are bounded" do
    bounded =
      ~w(rate pool pipe stage reason outcome worker state phase place output store table view metric)a ++
        ~w(version elixir otp)a

    for definition <- Definitions.all() do
      refute definition.help =~ "\n"
      assert definition.labels -- bounded == []
      assert "#{definition.metric}" =~ "_total" == (definition.type == :counter)
    end
  end

  describe "rules and the dashboard of Grafana" do
    defp known do
      for d <- Definitions.written(), into: MapSet.new(), do: "slither_#{d.metric}"
    end

    defp names(text) do
      for [name] <- Regex.scan(~r/\bslither_\w+/, text), uniq: true do
        if name in known(), do: name, else: String.replace(name, @parts, "")
      end
    end

    defp panels,
      do:
        for(%{"targets" => targets} <- JSON.read!(File.read!(@dashboard))["panels"], do: targets)

    test "name metrics that there are" do
      for file <- [@rules, @dashboard] do
        assert [_ | _] = names = names(File.read!(file))
        assert Enum.reject(names, &(&1 in known())) == []
      end

      shown = names(File.read!(@dashboard))
      assert Enum.reject(@core, &(("slither_" <> &1) in shown)) == []
    end

    @tag :prometheus
    test "alerts come when they are to, and else not" do
      Prometheus.promtool!(["check", "rules", @rules], nil)
      # Sentences are for people: the tests name what is alerted.
      bare = Regex.replace(~r/ +annotations:\n( {10}.*\n)+/, File.read!(@rules), "")
      File.write!(rules = path("rules.yml"), bare)
      tests = File.read!(Path.expand("metrics/slither.rules.test.yml", __DIR__))
      File.write!(tests_path = path("tests.yml"), String.replace(tests, "RULES", rules))
      Prometheus.promtool!(["test", "rules", tests_path], nil)

      for [name] <- Regex.scan(~r/alert: (\w+)/, bare, capture: :all_but_first),
          do: assert(tests =~ "alertname: #{name}\n", "#{name} has no test")
    end

    @tag :prometheus
    test "a real Prometheus scrapes it, evaluates the rules and draws the panels" do
      dashboard = unique(:metrics_page)
      start_supervised!({Slither.Dashboard, name: dashboard, port: 0})
      %URI{port: target} = URI.parse(Slither.Dashboard.url(dashboard))
      port = Prometheus.start!(target, @rules)
      %{pool: pool, pipe: pipe} = busy()

      ended = ~s(slither_worker_ends_total{pool="#{pool}",reason="worker_died"} == 1)
      assert [{_labels, 1.0}] = Prometheus.await(port, ended)

      assert [{%{"stage" => "same"}, 3.0}] =
               Prometheus.await(port, ~s(slither_items_total{pipe="#{pipe}",outcome="ok"} == 3))

      assert [{_labels, 1.0}] = Prometheus.await(port, ~s(up{job="slither"}))

      buckets = ~s(slither_batch_duration_seconds_bucket{pool="#{pool}",stage="same",le="+Inf"})
      assert [{_labels, 1.0}] = Prometheus.await(port, buckets)

      rules = Prometheus.rules(port)
      assert length(rules) == length(Regex.scan(~r/alert:/, File.read!(@rules)))
      assert [] = for(%{"health" => "err"} = rule <- rules, do: rule)

      for targets <- panels(), %{"expr" => expr} <- targets do
        expr =
          expr |> String.replace("$instance", ".*") |> String.replace("$__rate_interval", "1m")

        assert is_list(Prometheus.query(port, expr))
      end
    end
  end
end
