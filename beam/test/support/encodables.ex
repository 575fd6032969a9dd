defmodule Slither.Test.Encodables do
  @moduledoc false
  # Structs with implementations of `Slither.Encodable`, compiled before protocols are consolidated.

  defmodule Point do
    @moduledoc false
    @derive Slither.Encodable
    defstruct [:x, :y]
  end

  defmodule User do
    @moduledoc false
    @derive {Slither.Encodable, only: [:id]}
    defstruct [:id, :secret]
  end

  defmodule Account do
    @moduledoc false
    @derive {Slither.Encodable, except: [:secret]}
    defstruct [:id, :owner, :secret]
  end

  defmodule Money do
    @moduledoc false
    defstruct [:currency, :amount]

    defimpl Slither.Encodable do
      def encode(money), do: Slither.Tagged.new("shop.Money", [money.currency, money.amount])
    end
  end

  defmodule Twin do
    @moduledoc false
    defstruct [:of]

    defimpl Slither.Encodable do
      def encode(twin), do: twin
    end
  end

  defmodule Broken do
    @moduledoc false
    defstruct [:why]

    defimpl Slither.Encodable do
      def encode(broken), do: raise(ArgumentError, broken.why)
    end
  end

  defmodule Nest do
    @moduledoc false
    defstruct [:as]

    # What it is sent as has it within.
    defimpl Slither.Encodable do
      def encode(nest), do: nest.as.(nest)
    end
  end
end
