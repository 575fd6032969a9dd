defmodule Slither.Expression do
  @moduledoc """
  What a pipe from Python computes on BEAM: an expression over an item, as data.

  `item["score"] >= 0.8`, written in Python, comes as `[">=", ["get", ["item"], "score"], 0.8]`.
  `protocol/PROTOCOL.md` lists the operations and gives the law of each, which is the same in
  both languages. An expression is checked and turned into functions once; no name in it becomes
  an atom, and nothing in it is evaluated as code.

  Evaluating is total. What can't be computed (a key that is not there, an operand of the wrong
  type, a division by zero, an integer beyond 64 bits) is an error of the item, with the reason
  `:expression`, that names the expression and the part of it that failed.

      iex> {:ok, high} = Slither.Expression.new([">=", ["get", ["item"], "score"], 0.8])
      iex> high.text
      ~S(item["score"] >= 0.8)
      iex> Slither.Expression.eval(high, %{"score" => 0.9})
      {:ok, true}
      iex> {:error, error} = Slither.Expression.eval(high, %{"text" => "no score"})
      iex> {error.reason, error.message}
      {:expression, ~S(item["score"] >= 0.8 failed at item["score"]: there is no key "score")}
  """

  alias Slither.Error
  alias Slither.Expression.{Compiler, Operations, Text, Value}

  @max_depth 64
  @max_size 10_000

  @enforce_keys [:data, :text, :fun]
  defstruct [:data, :text, :fun]

  @type t :: %__MODULE__{data: term, text: String.t(), fun: (map -> term)}

  @doc """
  Checks an expression's data and makes it ready to run.

  `allow:` says which of `:skip`, `:fail` and `:error` may stand in it (`[:skip, :fail]`). An
  error (`:invalid_expression`) names the path to the fault in the data.

      iex> {:error, error} = Slither.Expression.new(["in", ["item"], ["lst", []]])
      iex> error.message
      ~S([2]: unknown operation "lst". Did you mean "list"?)
  """
  @spec new(term, keyword) :: {:ok, t} | {:error, Error.t()}
  def new(data, options \\ []) do
    allowed = Keyword.get(options, :allow, [:skip, :fail])

    case Compiler.compile(data, allowed, {@max_depth, @max_size}) do
      {:ok, fun} ->
        {:ok, %__MODULE__{data: data, text: Text.render(data), fun: fun}}

      {:error, path, message} ->
        text = if path == "", do: message, else: "#{path}: #{message}"
        {:error, %Error{reason: :invalid_expression, message: text, details: %{path: path}}}
    end
  end

  @doc """
  The value for an item's payload; `error` is what `error` stands for in an error policy.

  `{:skip, reason}` where the expression says `skip`. Values are as Python sees them: an atom is
  its name, a tuple is a list.
  """
  @spec eval(t, term, map | nil) :: {:ok, term} | {:skip, term} | {:error, Error.t()}
  def eval(%__MODULE__{fun: fun} = expression, payload, error \\ nil) do
    {:ok, fun.(%{item: payload, error: error})}
  catch
    {Operations, :skip, reason} -> {:skip, reason}
    {Operations, :fail, reason} -> {:error, failed(expression, reason)}
    {Operations, kind, at, message} -> {:error, error(expression, kind, at, message)}
  end

  @doc "As `eval/3`, raising the error."
  @spec eval!(t, term) :: term
  def eval!(expression, payload) do
    case eval(expression, payload) do
      {:ok, value} -> value
      {:error, error} -> raise error
    end
  end

  defp error(expression, kind, at, message) do
    at = Text.render(at)
    place = if at == expression.text, do: "", else: " failed at #{at}"

    %Error{
      reason: :expression,
      message: "#{expression.text}#{place}: #{message}",
      details: %{expression: expression.text, at: at, kind: kind}
    }
  end

  defp failed(expression, reason) do
    said = if is_binary(reason), do: reason, else: Text.show(Value.seen(reason))

    %Error{
      reason: :expression,
      message: said,
      details: %{expression: expression.text, kind: :fail, value: reason}
    }
  end
end
