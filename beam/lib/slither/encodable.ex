defprotocol Slither.Encodable do
  @moduledoc """
  How a struct of your own is sent to Python.

  `encode/1` gives any value that can be sent: a map, as a rule, or a `Slither.Tagged` with the name
  under which Python has registered a type (`slither.register`). It may hold other such structs. What
  comes back is that value, not the struct.

  Derived, a struct is sent as a map of its fields, or of some of them:

      defmodule Point do
        @derive Slither.Encodable
        defstruct [:x, :y]
      end

      defmodule User do
        @derive {Slither.Encodable, only: [:id, :name]}
        defstruct [:id, :name, :password_hash]
      end

  `except:` leaves fields out. By hand:

      defimpl Slither.Encodable, for: Money do
        def encode(money),
          do: Slither.Tagged.new("shop.Money", [money.currency, to_string(money.amount)])
      end

  A struct without an implementation can't be sent; the error names it. So does one that raises.
  """

  @doc "The value that stands for a struct."
  @spec encode(t) :: term
  def encode(struct)
end

defimpl Slither.Encodable, for: Any do
  defmacro __deriving__(module, struct, options) do
    fields = fields(module, struct, options)

    quote do
      defimpl Slither.Encodable, for: unquote(module) do
        def encode(struct), do: Map.take(struct, unquote(fields))
      end
    end
  end

  # It is only there to raise.
  @dialyzer {:nowarn_function, encode: 1}
  def encode(struct), do: raise(Protocol.UndefinedError, protocol: @protocol, value: struct)

  defp fields(module, struct, options) do
    known = struct |> Map.from_struct() |> Map.keys()

    case options do
      [] -> known
      [only: fields] -> known!(fields, known, module, :only)
      [except: fields] -> known -- known!(fields, known, module, :except)
      _ -> raise ArgumentError, wrong(module, "takes only: or except:, got #{inspect(options)}")
    end
  end

  defp known!(fields, known, module, option) do
    unless is_list(fields),
      do: raise(ArgumentError, wrong(module, "#{option}: takes a list, got #{inspect(fields)}"))

    case fields -- known do
      [] -> fields
      [field | _] -> raise ArgumentError, wrong(module, "#{option}: no field #{inspect(field)}")
    end
  end

  defp wrong(module, why), do: "@derive Slither.Encodable of #{inspect(module)}: " <> why
end
