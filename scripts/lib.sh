# What the scripts share; sourced, never run.
# shellcheck shell=bash

# Everything runs from the repository's root, wherever it was called from.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

need_cargo() {
    # A shell that rustup was installed from does not have it in PATH yet.
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || {
        echo "$0: there is no cargo; install Rust (rustup) and call this again" >&2
        exit 1
    }
}

# need_component NAME COMMAND: rustup's minimal profile comes without some.
need_component() {
    cargo "$2" --version >/dev/null 2>&1 || rustup component add "$1"
}
