defmodule Slither do
  @moduledoc false
end
