defmodule Slither.Examples.MlScoring do
  @moduledoc """
  Two models, trained at once in two sessions, that score 10,000 records each.

  The data are of patients with breast cancer and with diabetes, as scikit-learn ships them. Each
  session has a model of its own in its worker, and reads the features of its records from a store
  through a view.
  """

  @behaviour Slither.Examples.Example

  alias Slither.Examples.{Measure, Progress}
  alias Slither.Store.Server

  @pool :ml_scoring
  @reference :ml_scoring_reference
  @batch_size 50

  # coordination: slither
  defmodule Features do
    @moduledoc false
    # The features of records, by session.
    @behaviour Slither.Store

    @impl true
    def tables, do: [%{name: :features}]

    @impl true
    def views, do: [%{name: :ml_features, handler: &features/2}]

    @impl true
    def load(_tables), do: :ok

    # A session finds what is its own, whatever it asks for.
    defp features(%{"records" => records}, %{session_id: session}) do
      keys = Enum.map(records, &{session, &1})
      found = Server.get_many(__MODULE__, :features, keys)
      Enum.map(keys, &Map.fetch!(found, &1))
    end
  end

  # end of coordination

  @impl true
  def title, do: "two models of patients, each in a session of its own"

  @impl true
  def shows do
    "two that train with the same code get each other's model, and predict with it without an " <>
      "error; here each session has its own model and sees its own records."
  end

  @impl true
  def size, do: {10_000, "records for each model"}

  @impl true
  def needs, do: ["scikit-learn"]

  @impl true
  def why do
    "Both data sets have ten features, so a model takes the other's records and says nothing. " <>
      "unsafe_threaded keeps its model in a dict of the module, slither in session(): the line is " <>
      "the same. safe_python hands each model to those who need it; process_pool has an executor " <>
      "for each worker, to choose who works where. slither pins a session to a worker, and hands " <>
      "features out by session. Nobody scores before scikit-learn is imported, which is " <>
      "nearly all of a start; a program that has it anyway forks workers for less."
  end

  @impl true
  def run(options) do
    pool = [size: options[:workers], python: options[:python], paths: [__DIR__]]
    pool = [preload: ["ml_scoring"]] ++ pool

    with {:ok, sets, expected} <- prepared(pool, options[:size]),
         {:ok, figures, sessions} <-
           Measure.run(
             [{Server, Features}, {Slither.Python.Pool, [name: @pool] ++ pool}],
             [@pool],
             fn -> serve_all(sets) end
           ) do
      {:ok, outcome(figures, sets, expected, sessions)}
    end
  end

  # The data sets, and what plain scikit-learn makes of them. None of that is measured.
  defp prepared(pool, size) do
    pool = Keyword.merge(pool, name: @reference, size: 1)

    with {:ok, _figures, {sets, expected}} <-
           Measure.run([{Slither.Python.Pool, pool}], [@reference], fn ->
             sets = ask("load", size)
             {sets, Enum.map(sets, &ask("expected", &1))}
           end),
         do: {:ok, sets, expected}
  end

  defp ask(function, payload) do
    options = [module: "ml_scoring", function: function, pool: @reference]
    {:ok, [item]} = Slither.Dispatch.call_batch([payload], options)
    item.payload
  end

  defp serve_all(sets) do
    progress = Progress.start("records", sets |> Enum.map(&length(&1["requests"])) |> Enum.sum())
    sessions = serve(sets, fn _item -> Progress.step(progress) end)
    Progress.stop(progress)
    sessions
  end

  # coordination: slither
  defp serve(sets, step) do
    sets
    |> Enum.map(&Task.async(fn -> session(&1, step) end))
    |> Task.await_many(:infinity)
  end

  defp session(%{"name" => name} = data, step) do
    rows = Enum.with_index(data["features"], &{{name, &2}, &1})
    :ok = Server.bulk_insert(Features, :features, rows)
    options = [module: "ml_scoring", pool: @pool, session_id: name]

    {:ok, [trained]} = Slither.dispatch([task(data)], [function: "train"] ++ options)

    scores =
      data["requests"]
      |> Slither.Dispatch.stream([function: "score", batch_size: @batch_size] ++ options)
      |> Stream.each(step)
      |> Enum.map(& &1.payload)

    :ok = Slither.Session.stop(name)
    %{trained: trained.payload, scores: scores}
  end

  # end of coordination

  # The records to train on, and their labels.
  defp task(data) do
    labels = List.to_tuple(data["labels"])
    {data["training"], Enum.map(data["training"], &elem(labels, &1))}
  end

  defp outcome(figures, sets, expected, sessions) do
    marks = for %{scores: scores} <- sessions, do: marks(scores)

    %{
      figures: figures,
      invariants: [
        {"every record has one prediction, in its order",
         Enum.map(sessions, &records(&1.scores)) == Enum.map(sets, & &1["requests"])},
        {"each model scored its own session and no other, by its fingerprint",
         marks == Enum.map(expected, &marks(&1["scores"])) and
           length(Enum.uniq(marks)) == length(sets) and Enum.all?(marks, &(length(&1) == 1))},
        {"the predictions are those of plain scikit-learn, bit for bit",
         Enum.map(sessions, &probabilities(&1.scores)) ==
           Enum.map(expected, &probabilities(&1["scores"]))}
      ],
      parts: parts(sets, expected, sessions)
    }
  end

  defp records(scores), do: Enum.map(scores, & &1["record"])
  defp probabilities(scores), do: Enum.map(scores, & &1["probability"])
  defp marks(scores), do: scores |> Enum.map(& &1["fingerprint"]) |> Enum.uniq()

  defp parts(sets, expected, sessions) do
    [
      {:table, "Models by session",
       ["session", "trained on", "in", "scored", "accuracy", "ROC AUC", "fingerprint", "worker"],
       for {data, expected, %{trained: trained, scores: scores}} <-
             Enum.zip([sets, expected, sessions]) do
         [data["name"], "#{length(data["training"])} of #{length(data["features"])}"] ++
           ["#{ms(trained["ended"] - trained["began"])} ms", length(scores)] ++
           [decimals(expected["accuracy"]), decimals(expected["auc"])] ++
           [trained["fingerprint"], trained["worker"]]
       end},
      {:lines, ["Both trained at the same time for #{ms(overlap(sessions))} ms."]}
    ]
  end

  defp overlap(sessions) do
    latest = sessions |> Enum.map(& &1.trained["began"]) |> Enum.max()
    first = sessions |> Enum.map(& &1.trained["ended"]) |> Enum.min()
    max(0, first - latest)
  end

  defp ms(seconds), do: round(seconds * 1_000)
  defp decimals(number), do: :erlang.float_to_binary(number, decimals: 3)
end
