dsl = [pipe: 2, stage: 2, stage: 3, store: 1, store: 2, output: 1, on_error: 2]

[
  inputs: [
    "{mix,.formatter}.exs",
    "beam/{bench,config,lib,proof,test}/**/*.{ex,exs}",
    "examples/**/*.{ex,exs}"
  ],
  locals_without_parens: dsl,
  export: [locals_without_parens: dsl]
]
