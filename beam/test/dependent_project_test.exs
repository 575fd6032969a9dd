defmodule Slither.DependentProjectTest do
  # A project of somebody else's, which depends on Slither and whose config/runtime.exs was
  # written for SnakeBridge. Everything in it is what the user's first day has.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)

  @files %{
    "mix.exs" => """
    defmodule MyApp.MixProject do
      use Mix.Project
      def project, do: [app: :my_app, version: "0.1.0", deps: [{:slither, path: "#{@root}"}]]
      def application, do: [extra_applications: [:logger]]
    end
    """,
    "config/config.exs" => """
    import Config
    config :slither, stores: [MyApp.FeatureStore]
    """,
    "config/runtime.exs" => """
    import Config
    SnakeBridge.ConfigHelper.configure_snakepit!(pool_size: 2)
    """,
    "my_model.py" => """
    from slither import views

    def predict_batch(rows):
        return [
            {**row, "score": len(row["text"]) / 10, "tier": views.lookup_feature(key="user:42")}
            for row in rows
        ]
    """,
    "lib/score_pipe.ex" => """
    defmodule MyApp.ScorePipe do
      use Slither.Pipe
      pipe :score do
        stage :prepare, :beam,
          handler: fn item, _ctx ->
            %{"text" => item.payload}
          end
        stage :predict, :python,
          executor: Slither.Dispatch.Executors.SnakeBridge,
          module: "my_model",
          function: "predict_batch",
          pool: :default,
          batch_size: 32,
          max_in_flight: 4
        stage :route, :router,
          routes: [
            {fn item -> item.payload["score"] >= 0.8 end, :accept},
            {fn item -> item.payload["score"] >= 0.4 end, :review}
          ]
        output :accept
        output :review
        output :default
        on_error :predict, :skip
        on_error :*, :halt
      end
    end
    """,
    "lib/feature_store.ex" => """
    defmodule MyApp.FeatureStore do
      @behaviour Slither.Store
      @impl true
      def tables do
        [
          %{name: :features, type: :set, read_concurrency: true}
        ]
      end
      @impl true
      def views do
        [
          %{
            name: :lookup_feature,
            mode: :scalar,
            scope: :session,
            handler: fn %{"key" => key}, _ctx ->
              case Slither.Store.Server.get(__MODULE__, :features, key) do
                nil -> %{"error" => "not_found"}
                value -> %{"value" => value}
              end
            end,
            timeout_ms: 5_000
          }
        ]
      end
      @impl true
      def load(tables) do
        :ets.insert(tables[:features], {"user:42", %{tier: "gold"}})
        :ok
      end
    end
    """,
    "run.exs" => """
    {:ok, outputs} = Slither.run_pipe(MyApp.ScorePipe, ["first", "second", "third long"])
    accepted_payloads = Enum.map(outputs.accept, & &1.payload)
    review_payloads = Enum.map(outputs.review, & &1.payload)

    items = Slither.Item.wrap_many(Enum.map(1..4, &%{"text" => to_string(&1)}))
    {:ok, results} =
      Slither.dispatch(items,
        executor: Slither.Dispatch.Executors.SnakeBridge,
        module: "my_model",
        function: "predict_batch",
        pool: :default,
        batch_size: 64,
        max_in_flight: 8,
        ordering: :preserve,
        on_error: :halt
      )

    Slither.Store.Server.put(MyApp.FeatureStore, :features, "user:99", %{tier: "silver"})
    silver = Slither.Store.Server.get(MyApp.FeatureStore, :features, "user:99")
    {:ok, status} = Slither.Python.Pool.status(:default)

    result = {
      Enum.map(accepted_payloads, & &1["text"]),
      Enum.map(review_payloads, & &1["text"]),
      length(results),
      hd(results).payload["tier"],
      silver,
      status.size
    }

    IO.puts(inspect(result, width: :infinity))
    """
  }

  @tag :tmp_dir
  test "compiles and runs with nothing but a dependency and its configuration", %{tmp_dir: dir} do
    for {name, text} <- @files do
      path = Path.join(dir, name)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
    end

    python = Path.join(@root, ".venv/bin")
    env = [{"MIX_ENV", "dev"}, {"PATH", python <> ":" <> System.get_env("PATH")}]

    {output, status} =
      System.cmd("mix", ["run", "run.exs"], cd: dir, env: env, stderr_to_stdout: true)

    assert status == 0, output

    assert output =~
             ~s({["third long"], ["first", "second"], 4, %{"value" => %{"tier" => "gold"}}, ) <>
               ~s(%{tier: "silver"}, 2})
  end
end
