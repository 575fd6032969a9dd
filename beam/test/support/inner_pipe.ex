defmodule Slither.Test.InnerPipe do
  @moduledoc false
  # Fails at 13, adds 100, and sends what is odd aside.
  use Slither.Pipe

  pipe :inner do
    stage :check, :beam,
      handler: fn item, _ ->
        if item.payload == 13, do: {:error, :unlucky}, else: item.payload + 100
      end

    stage :split, :beam,
      handler: fn
        %{payload: 107}, _ -> raise "seven"
        %{payload: 109}, _ -> {:route, :default, 109}
        %{payload: n}, _ when rem(n, 2) == 1 -> {:route, :odd, n}
        %{payload: n}, _ -> n
      end

    output :odd
    on_error :check, {:route, :odd}
  end
end

defmodule Slither.Test.MixedPipe do
  @moduledoc false
  # Lets some items pass its second stage by, and sends some aside or to the end at once.
  use Slither.Pipe

  pipe :mixed do
    stage :ways, :router, routes: [{&(:erlang.phash2(&1.payload, 3) == 0), :last}]
    stage :same, :beam, handler: & &1.payload, concurrency: 2

    stage :last, :router,
      routes: [
        {&(:erlang.phash2(&1.payload, 5) == 0), :odd},
        {&(:erlang.phash2(&1.payload, 5) == 1), :default}
      ]

    stage :after, :beam, handler: & &1.payload
    output :odd
  end
end
