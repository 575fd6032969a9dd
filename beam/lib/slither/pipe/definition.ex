defmodule Slither.Pipe.Definition do
  @moduledoc """
  A pipe as data: what `MyPipe.__pipe_definition__/0` gives and `Slither.Pipe.Runner` runs.

    * `name`: the pipe's name;
    * `stages`: in order, each with `name`, `type`, `module`, `options` and `line`; those of
      an inner pipe in its place;
    * `outputs`: the declared ones and `default`;
    * `default`: the output of what no route took: `:default`, or `"default"`;
    * `stores`: store modules by the names the pipe gives them;
    * `on_error`: policies by stage name, `:*` for all others.

  Names are atoms in a pipe of the DSL, and strings in one that came as a document.
  """

  defmodule Stage do
    @moduledoc false
    # One stage of a definition: `Slither.Pipe.Builder` makes it of a statement, and
    # `Slither.Pipe.Flatten` says where it stands.
    @enforce_keys [:name, :type, :module, :options]
    defstruct [:name, :type, :module, :options, :line, :policy, :screen] ++
                [targets: %{}, policy_targets: %{}, stores: %{}]

    @typedoc """
    `policy` is the one that holds for the stage; `targets` and `policy_targets` say where the
    routes of its handler and of its policy lead. `screen` is as in `Slither.Pipe.Statement`.
    """
    @type t :: %__MODULE__{
            name: atom | String.t(),
            type: :beam | :python | :router | :batch | :pipe | :module,
            module: module,
            options: keyword,
            line: integer | String.t() | nil,
            policy: term,
            screen: keyword | nil,
            targets: targets,
            policy_targets: targets,
            stores: %{optional(atom | String.t()) => term}
          }

    @type targets :: %{
            optional(atom | String.t()) =>
              {:output, atom | String.t()} | {:stage, non_neg_integer}
          }
  end

  @enforce_keys [:name]
  defstruct [:name, stages: [], outputs: [:default], default: :default] ++
              [stores: %{}, on_error: %{}]

  @type name :: atom | String.t()

  @type t :: %__MODULE__{
          name: name,
          stages: [Stage.t()],
          outputs: [name],
          default: name,
          stores: %{optional(name) => term},
          on_error: %{optional(name) => term}
        }
end
