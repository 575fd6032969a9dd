defmodule Slither.Examples.TokenStream do
  @moduledoc """
  Two texts of one small language model in one worker, token by token, for two readers.

  The fast reader takes all that comes. The slow one stops in the middle of its text until the fast
  one is done, and leaves at a quarter. `Slither.stream_call/4` draws tokens as they are read, so that
  neither holds up the other, and nothing is written that nobody wants.
  """

  @behaviour Slither.Examples.Example

  alias Slither.Examples.{Measure, Report}
  alias Slither.Python.Pool

  @pool :token_stream
  @reference :token_stream_reference
  @fast 1
  @slow 2

  @impl true
  def title, do: "two texts of a small language model, read token by token at different speeds"

  @impl true
  def shows do
    "a model that writes ahead of its readers writes what nobody reads, and one that waits for the " <>
      "slow one keeps the fast one waiting; here each text goes on as it is read, in one worker."
  end

  @impl true
  def size, do: {1_000, "tokens of each text"}

  @impl true
  def needs, do: []

  @impl true
  def why do
    "All the time goes into the model, which one process or one thread runs for both readers. With " <>
      "Slither a generator is a stream: a token is there when it is made, a reader that rests " <>
      "costs nothing, and one that leaves ends its generator. Threads and a process pool can do " <>
      "the same by a protocol of one's own: who asks, for how much, and who closes. What one " <>
      "writes first, a thread that fills queues, writes both texts to their ends."
  end

  @impl true
  def run(options) do
    pool = [python: options[:python], paths: [__DIR__], preload: ["token_stream"], size: 1]
    size = options[:size]

    with {:ok, _figures, texts} <- expected(pool, size),
         {:ok, figures, result} <-
           Measure.run([{Pool, [name: @pool] ++ pool}], [@pool], fn -> read(size) end) do
      {:ok, outcome(figures, result, texts, size)}
    end
  end

  # The texts as another process writes them. None of that is measured.
  defp expected(pool, size) do
    Measure.run([{Pool, [name: @reference] ++ pool}], [@reference], fn ->
      for text <- [@fast, @slow],
          do: Slither.call!("token_stream", "text", [text, size], pool: @reference)
    end)
  end

  # coordination: slither
  defp tokens(text, size),
    do: Slither.stream_call("token_stream", "generate", [text, size], pool: @pool)

  defp read(size) do
    began = System.monotonic_time(:microsecond)
    fast = Task.async(fn -> tokens(@fast, size) |> Enum.map(&{&1, now()}) end)

    # The slow reader rests until the fast one has its text.
    {slow, fast} =
      tokens(@slow, size)
      |> Stream.take(div(size, 4))
      |> Enum.reduce({[], fast}, fn token, {read, fast} ->
        rests? = length(read) == div(size, 8)
        {[token | read], if(rests?, do: Task.await(fast, :infinity), else: fast)}
      end)

    made = Slither.call!("token_stream", "made", [@slow], pool: @pool)
    %{fast: fast, slow: Enum.reverse(slow), made: made, began: began}
  end

  # end of coordination

  defp now, do: System.monotonic_time(:microsecond)

  defp outcome(figures, result, [fast, slow], size) do
    {tokens, times} = Enum.unzip(result.fast)
    [first | _] = times
    waits = Enum.zip_with(times, tl(times), fn before, at -> at - before end)

    %{
      figures: figures,
      invariants: [
        {"each reader has its own text, token for token",
         {tokens, result.slow} == {fast, Enum.take(slow, div(size, 4))}},
        {"the fast reader has all of its text while the slow one rests", length(tokens) == size},
        {"what nobody reads is not written", result.made < size}
      ],
      parts: [
        {:table, "What the fast reader saw", ["", "after"],
         [
           ["its first token", Report.seconds((first - result.began) / 1_000)],
           ["its last token", Report.seconds((List.last(times) - result.began) / 1_000)],
           ["the longest wait between two", Report.seconds(Enum.max(waits) / 1_000)]
         ]}
      ]
    }
  end
end
