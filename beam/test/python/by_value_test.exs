defmodule Slither.Python.ByValueTest do
  # Code and objects that a Python program sends to its workers by value: pools of BEAM's own refuse
  # them, and the secret that opens them is shown nowhere.
  use ExUnit.Case, async: true

  alias Slither.{Bytes, Error, Pickled}
  alias Slither.Pool.Settings
  alias Slither.Python.{Handshake, Pool, Secret}

  setup_all do
    start_supervised!({Pool, name: __MODULE__, size: 1})
    :ok = Pool.await_ready(__MODULE__)
  end

  test "a pool of BEAM's own refuses a function by value" do
    assert {:error, %Error{reason: :import_failed} = error} =
             Pool.call(__MODULE__, ["function", "__main__", "<lambda>@1"], [1])

    assert Exception.message(error) =~
             "<lambda> went by value, which only the workers of the program"
  end

  test "it refuses an object by value, whoever has signed it" do
    pickled = %Pickled{data: :crypto.strong_rand_bytes(64)}

    assert {:error, %Error{reason: :not_decodable} = error} =
             Pool.call(__MODULE__, ["function", "builtins", "list"], [%{"a" => pickled}])

    assert Exception.message(error) =~ "a pickled value came"
    assert {:ok, [1], %{}} = Pool.call(__MODULE__, ["function", "builtins", "list"], [1])
  end

  test "the secret is in the welcome of a program's workers, and in no text" do
    secret = Secret.new(%Bytes{data: "do not show this"})
    {:ok, checked} = Settings.check(name: :own)
    own = struct!(Settings.new(checked, nil), secret: secret)

    for shown <- [inspect(secret), inspect(own), inspect(%{state: [own]}, limit: :infinity)],
        do: refute(shown =~ "do not show")

    opened = %{marker: true, stacks: true}
    assert {:welcome, _version, %{"secret" => %Bytes{}}} = Handshake.welcome(own, 1, opened)
    plain = Settings.new(checked, nil)
    assert {:welcome, _version, %{"secret" => nil}} = Handshake.welcome(plain, 1, opened)
  end

  test "no option of a pool sets it" do
    assert {:error, error} = Settings.check(name: :own, secret: %Bytes{data: "theirs"})
    assert Exception.message(error) =~ "secret"
  end

  test "a pickle is no more than its size to who looks at it" do
    refute inspect(%Pickled{data: "what is in it"}) =~ "what is in it"
  end
end
