# shellcheck shell=bash
# What the scripts here share: the project's root, messages, and steps that say on one line what
# they do and how long it took, with their output in a log. Sourced, never run by itself.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p _build/logs

# Elixir wants a UTF-8 locale; a bare machine has none set.
export LANG=C.UTF-8 LC_ALL=C.UTF-8
export ELIXIR_ERL_OPTIONS="${ELIXIR_ERL_OPTIONS:-+fnu}"

have() { command -v "$1" >/dev/null 2>&1; }

die() {
  printf '\n%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# step NAME COMMAND...: runs a command quietly; if it fails, shows the end of its log and stops.
step() {
  local name=$1 start=$SECONDS log
  shift
  log="_build/logs/${0##*/}-${name//[^a-zA-Z0-9]/-}.log"
  printf '%s: %s ... ' "${0##*/}" "$name"
  if "$@" >"$log" 2>&1 </dev/null; then
    printf '%d s\n' "$((SECONDS - start))"
  else
    printf 'failed after %d s\n\n' "$((SECONDS - start))"
    tail -n "${STEP_TAIL:-40}" "$log"
    die "\"$name\" failed; all of its output is in $log"
  fi
}

# unchanged STAMP INPUTS / stamp STAMP INPUTS: a stamp holds the inputs it was made for, word for
# word, so that a step is repeated when what it depends on changes, and only then.
unchanged() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

stamp() {
  mkdir -p "$(dirname "$1")"
  printf '%s\n' "$2" >"$1"
}

# proof NAME ARGUMENTS...: runs one of beam/proof, whose exit status says whether it held.
proof() {
  local name=$1
  shift
  export MIX_ENV=test PATH="$PWD/.venv/bin:$PATH"
  exec mix run -e "Slither.Proof.$name.main(System.argv())" -- "$@"
}
