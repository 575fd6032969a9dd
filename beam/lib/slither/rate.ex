defmodule Slither.Rate do
  @moduledoc """
  Limits how many items go out in a time, for all who share the limit.

  An API takes 100 requests a minute, however many workers there are. A rate is a bucket into which
  tokens come at that speed, and each item takes one before it is sent:

      Slither.dispatch(prompts, module: "llm", function: "ask", each: true,
        rate: [items: 100, per: 60_000])

  That bucket is the run's own. One with a name is shared by all that name it: dispatches, Python
  stages of pipes and single calls. It is configured, or stands under a supervisor:

      config :slither, rates: [openai: [items: 100, per: 60_000]]

      {Slither.Rate, name: :openai, items: 100, per: 60_000}

      Slither.call("llm", "ask", ["why?"], rate: :openai)
      Slither.dispatch(prompts, module: "llm", function: "ask", rate: {:openai, weight: &tokens/1})

  ## What holds

    * In no stretch of `t` ms do items go out that weigh more than `burst + items * t / per`. One item
      that is heavier than `burst` goes when the bucket is full, and leaves it in debt.
    * A batch is cut to what the bucket can hold, so that a small rate flows instead of going in
      bursts: with 100 a minute items go one by one, with 1,000 a second up to 100 together.
    * Whoever waits for tokens holds no worker. Of a run one batch has tokens and has no worker yet.
      The time does not count for `timeout` or `queue_timeout`; a receipt has it as `rate`.
    * Callers, each a run or a process, have their turns by what they have taken: each gets its share,
      and each one's own requests keep their order. The place of a caller that ends is free at once.

  ## When the other side says "later"

  A handler that is refused for now says when to come again: it returns `slither.worker.Failure` with
  `retry_after=` seconds, or raises an exception that tells it. That is one with a number
  `retry_after`, or one whose answer has the status 429 or 503, with its header `Retry-After` if there
  is one: those of `requests`, `httpx`, `urllib` and the clients made with them. The bucket is paused
  for that long, for all who share it, and the item goes again then. It counts as no attempt, and
  meets no error policy, before it was refused more often than `refusals` says. Without a `rate:`, it
  is a failure as any other, but for the pause of a policy that tries it again, which is as long.

  ## Options

  #{Slither.Rate.Spec.docs()}

  `weight` and `refusals` are of who uses a bucket, and the others are the bucket's.
  """

  alias Slither.{Error, Options}
  alias Slither.Rate.{Server, Spec}

  @where "Slither.Rate.start_link/1"
  @name [
    name: [type: :name, required: true, doc: "Names it; an atom and a string of it are the same."]
  ]

  @typedoc "The name of a bucket; `:openai` and `\"openai\"` are the same."
  @type name :: atom | String.t()

  @doc "A child specification, so that rates can stand under any supervisor."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if Keyword.keyword?(options), do: options[:name]
    %{id: {__MODULE__, name}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc """
  Starts a bucket with a name, linked to the caller. Options: `name`, `items`, `per` (ms) and `burst`.

  Returns `{:error, error}` for options that it can't use, and `{:error, {:already_started, pid}}`
  where one of its name runs.
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, Error.t() | {:already_started, pid}}
  def start_link(options) do
    with {:ok, options} <- Options.validate(options, @name ++ Spec.table(), @where),
         {:ok, name} <- Spec.name(options[:name]) do
      :ok = Slither.Leftovers.await(Slither.Python.Registry, [{:rate, name}])
      Server.start_link(name, Spec.figures(options))
    end
  end

  @doc """
  What a bucket does now: a map of `items`, `per` (ms) and `burst`, of the `tokens` that are there, how
  many requests are `waiting`, and for how many ms it is `paused`.
  """
  @spec status(name) :: {:ok, map} | {:error, Error.t()}
  def status(name), do: with({:ok, pid, _figures} <- find(name), do: {:ok, Server.status(pid)})

  @doc """
  Pauses a bucket for so many ms, a day at most: nobody gets tokens until then. A pause that is longer
  already stays.

      :ok = Slither.Rate.pause(:openai, 20_000)
  """
  @spec pause(name, non_neg_integer) :: :ok | {:error, Error.t()}
  def pause(name, time) when is_integer(time) and time >= 0,
    do: with({:ok, pid, _figures} <- find(name), do: Server.pause(pid, time))

  defp find(name) do
    with {:ok, name} <- Spec.name(name) do
      with :error <- Server.find(name), do: {:error, unknown(name)}
    end
  end

  @doc false
  # That no bucket of that name runs.
  @spec unknown(String.t()) :: Error.t()
  def unknown(name) do
    known = Server.names()

    hint =
      if known == [],
        do: "configure one: config :slither, rates: [#{name}: [items: 100, per: 60_000]]",
        else: "running rates: #{known |> Enum.sort() |> Enum.join(", ")}"

    %Error{
      reason: :unknown_rate,
      where: "rate #{inspect(name)}",
      message: "is not running",
      hint: hint,
      details: %{rate: name}
    }
  end
end
