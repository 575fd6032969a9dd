defmodule Slither.Python.Placement do
  @moduledoc false
  # Where the workers of a pool run: on which GPUs and cpus, and with which variables of their own.
  #
  # Whoever starts a pool makes the plan of its options, once. The pool's staff chooses a place for
  # each worker that it starts: what living workers hold least, so that one that replaces another has
  # what that leaves. The worker's owner turns the place into variables, and calls `each`.

  alias Slither.Error
  alias Slither.Python.Placement.{Cpus, Gpus}

  defstruct gpus: nil, cpus: nil, each: nil, quota: nil, notes: []

  @typedoc "GPUs or cpus that a worker may get together."
  @type group :: [String.t()] | [non_neg_integer]
  @typedoc """
  Groups of GPUs, and of cpus, of which each worker gets one; `{:spread, cpus}` are to be divided
  among all. `each` is a function of the worker's number, or a list of variables of which each worker
  gets one. `quota` is how many cpus' time the pool's processes may take, nil for all. `notes` say
  what was asked for and can't be had.
  """
  @type t :: %__MODULE__{
          gpus: [group, ...] | nil,
          cpus: [group, ...] | {:spread, group} | nil,
          each: (non_neg_integer -> term) | [map, ...] | nil,
          quota: float | nil,
          notes: [String.t()]
        }
  @typedoc "What one worker has; `threads` is for numerical libraries, `each` a place of that list."
  @type place :: %{
          gpus: group | nil,
          cpus: group | nil,
          threads: pos_integer | nil,
          each: non_neg_integer | nil
        }

  @gpus "CUDA_VISIBLE_DEVICES"
  @cpus "SLITHER_CPUS"

  @doc "Whether `each` may be this."
  @spec each?(term) :: boolean
  def each?([_ | _] = list), do: Enum.all?(list, &match?({:ok, _}, env(&1)))
  def each?(fun), do: is_nil(fun) or is_function(fun, 1)

  @doc "The plan of a pool's options, or what is wrong with them here."
  @spec new(map, map) :: {:ok, t} | {:error, Error.t()}
  def new(options, inherited \\ System.get_env()) do
    env = Map.merge(inherited, names(options.env))

    with {:ok, gpus, of_gpus} <- Gpus.share(options.gpus, env[@gpus]),
         {:ok, cpus, of_cpus} <- Cpus.share(options.cpus) do
      quota = if cpus, do: Cpus.quota()
      each = with [_ | _] = list <- options.each, do: Enum.map(list, &elem(env(&1), 1))

      {:ok,
       %__MODULE__{gpus: gpus, cpus: cpus, each: each, quota: quota, notes: of_gpus ++ of_cpus}}
    else
      {:error, option, why} -> {:error, wrong(options, option, why)}
    end
  end

  defp wrong(options, option, why) do
    %Error{
      reason: :invalid_option,
      where: "pool #{inspect(options.name)}",
      message: "option #{inspect(option)} #{why}",
      details: %{option: option, value: Map.fetch!(options, option)}
    }
  end

  @doc """
  The place of one more worker of `count`, beside the `held` places of those that live, each with
  whether its worker is to stay.
  """
  @spec choose(t, pos_integer, [{place, stays? :: boolean}]) :: place
  def choose(plan, count, held) do
    cpus = least(groups(plan.cpus, count), held(held, :cpus))
    each = if is_list(plan.each), do: Enum.map(0..(length(plan.each) - 1), &[&1])

    %{
      gpus: least(plan.gpus, held(held, :gpus)),
      cpus: cpus,
      threads: cpus && threads(length(cpus), plan.quota, count),
      each: with([index] <- least(each, held(held, :each)), do: index)
    }
  end

  defp groups({:spread, cpus}, count), do: Cpus.divide(cpus, count)
  defp groups(groups, _count), do: groups

  defp held(held, kind) do
    for {%{^kind => units}, stays?} when units != nil <- held, do: {List.wrap(units), stays?}
  end

  # A worker that is to leave holds its place until it is gone, but among others that are as full its
  # place is the one that comes free.
  defp least(nil, _held), do: nil

  defp least(groups, held) do
    all = Enum.frequencies(Enum.flat_map(held, fn {units, _stays?} -> units end))
    staying = Enum.frequencies(for {units, true} <- held, unit <- units, do: unit)
    Enum.min_by(groups, &{load(&1, all), load(&1, staying)})
  end

  defp load(units, counts),
    do: Enum.sum(Enum.map(units, &Map.get(counts, &1, 0))) / length(units)

  @doc "How many workers a pool may have by itself, spares left out."
  @spec most(map) :: pos_integer
  def most(%{most: most}) when most != nil, do: most
  def most(%{size: size}), do: size

  @doc """
  How many threads a numerical library gets by its worker's cpus, or where there is no worker yet, by
  those of any worker of the pool; nil where workers take all cpus.
  """
  @spec threads(map) :: pos_integer | nil
  def threads(%{place: %{threads: threads}}), do: threads

  def threads(%{plan: %__MODULE__{cpus: cpus} = plan} = settings) when cpus != nil do
    count = most(settings) + settings.spare
    fewest = cpus |> groups(count) |> Enum.map(&length/1) |> Enum.min()
    threads(fewest, plan.quota, count)
  end

  def threads(_without), do: nil

  defp threads(cpus, nil, _count), do: cpus
  defp threads(cpus, quota, count), do: cpus |> min(trunc(quota / count)) |> max(1)

  @doc """
  A pool's settings as the worker in `slot` has them, with variables of its `own`; or why it can't
  start. Called by the worker's owner, as it calls the user's function.
  """
  @spec own(map, non_neg_integer) :: {:ok, map} | {:error, Error.t()}
  def own(%{plan: %__MODULE__{} = plan, place: place} = settings, slot) do
    with {:ok, each} <- of_each(plan.each, place, settings.name, slot) do
      {:ok, %{settings | own: Map.merge(variables(place), each)}}
    end
  end

  def own(settings, _slot), do: {:ok, settings}

  # A worker that started this BEAM may have cpus of its own, which are not handed on.
  defp variables(place) do
    cpus = place && place.cpus
    gpus = place && place.gpus
    own = %{@cpus => cpus && Enum.join(cpus, ",")}
    if gpus, do: Map.put(own, @gpus, Enum.join(gpus, ",")), else: own
  end

  defp of_each(nil, _place, _pool, _slot), do: {:ok, %{}}
  defp of_each(list, place, _pool, _slot) when is_list(list), do: {:ok, Enum.at(list, place.each)}

  defp of_each(fun, _place, pool, slot) do
    with {:ok, answer} <- answer(fun, slot),
         {:ok, env} <- env(answer) do
      {:ok, env}
    else
      {:raised, text} -> {:error, failed(pool, slot, "raised #{text}")}
      {:wrong, why} -> {:error, failed(pool, slot, why)}
    end
  end

  defp answer(fun, slot) do
    {:ok, fun.(slot)}
  catch
    kind, reason -> {:raised, Exception.format_banner(kind, reason, __STACKTRACE__)}
  end

  defp failed(pool, slot, why) do
    %Error{
      reason: :invalid_option,
      message: "pool #{inspect(pool)}: each: #{why}, for worker #{slot}",
      hint:
        "it takes a worker's number, which may be higher than the pool's size, and gives [env: …]",
      details: %{option: :each, worker: slot}
    }
  end

  # The variables of an answer: names and values are text.
  defp env(answer) do
    with {:ok, pairs} <- pairs(answer),
         [{key, env}] when key in [:env, "env"] <- pairs,
         {:ok, pairs} <- pairs(env),
         true <- Enum.all?(pairs, &variable?/1) do
      {:ok, names(pairs)}
    else
      [] -> {:ok, %{}}
      _other -> {:wrong, "gave #{inspect(answer, limit: 5, printable_limit: 80)}, not [env: …]"}
    end
  end

  defp pairs(%{} = map) when not is_struct(map), do: {:ok, Map.to_list(map)}

  defp pairs(list) when is_list(list),
    do: if(Enum.all?(list, &match?({_name, _value}, &1)), do: {:ok, list}, else: :no)

  defp pairs(_other), do: :no

  defp variable?({name, value}) do
    name?(name) and
      (is_number(value) or is_atom(value) or (is_binary(value) and not (value =~ "\0")))
  end

  defp name?(name) when is_atom(name), do: name not in [nil, true, false]
  defp name?(name), do: is_binary(name) and name =~ ~r/\A[^=\0]+\z/

  defp names(pairs),
    do:
      Map.new(pairs, fn {name, value} ->
        {to_string(name), if(value != nil, do: to_string(value))}
      end)
end
