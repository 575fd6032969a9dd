defmodule Slither do
  @moduledoc """
  Python compute under BEAM control.

    * `Slither.Store`: shared state in ETS, which Python reads through views;
    * `Slither.Dispatch`: batched fan-out to Python workers, with bounded work in flight;
    * `Slither.Pipe`: BEAM stages, Python stages and routing in one supervised flow.

  This module is the short way to the last two.
  """

  alias Slither.{Dispatch, Item, Pipe, Receipt}

  @doc """
  Runs a pipe; see `Slither.Pipe.Runner.run/3`.

      {:ok, outputs} = Slither.run_pipe(MyApp.ScorePipe, ["first", "second", "third"])
      Enum.map(outputs.accept, & &1.payload)
  """
  @spec run_pipe(Pipe.Runner.pipe(), Enumerable.t(), keyword) ::
          Pipe.Runner.result()
  def run_pipe(pipe, input, options \\ []), do: Pipe.Runner.run(pipe, input, options)

  @doc "Runs a pipe lazily; see `Slither.Pipe.Runner.stream/3`."
  @spec stream_pipe(Pipe.Runner.pipe(), Enumerable.t(), keyword) :: Enumerable.t()
  def stream_pipe(pipe, input, options \\ []), do: Pipe.Runner.stream(pipe, input, options)

  @doc """
  Sends items to Python workers in batches; see `Slither.Dispatch.run/2`.

      items = Slither.Item.wrap_many([1, 2, 3, 4])
      {:ok, results} = Slither.dispatch(items, module: "my_model", function: "predict_batch")
  """
  @spec dispatch(Enumerable.t(), keyword) ::
          {:ok, [Item.t()]}
          | {:error, Exception.t(), [Item.t()]}
          | {:ok, [Item.t()], Receipt.t()}
          | {:error, Exception.t(), [Item.t()], Receipt.t()}
  def dispatch(items, options), do: Dispatch.run(items, options)
end
