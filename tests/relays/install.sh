#!/bin/sh
# Installs the relays written by others that tests start as child processes.
# Usage: tests/relays/install.sh [DIRECTORY]      default: target/relays below the workspace
# Prints the path of each relay that is ready. Safe to run again: what is installed stays.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
into=${1:-${CARGO_TARGET_DIR:-$root/target}/relays}
version=1.14
venv=$into/nostr-relay-$version

if ! command -v python3 >/dev/null 2>&1; then
    echo "install.sh: python3 is missing; nostr-relay $version needs Python 3.9 or newer" >&2
    exit 3
fi

mkdir -p "$into"
# Several test binaries may ask at once; one installs, the others wait for it.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$into/.lock"
    flock 9
fi

if [ ! -x "$venv/bin/nostr-relay" ]; then
    # A half-finished environment of an interrupted run is not repaired but made anew.
    rm -rf "$venv.part"
    python3 -m venv "$venv.part" || {
        echo "install.sh: python3 has no venv module (Debian: apt-get install python3-venv)" >&2
        exit 3
    }
    "$venv.part/bin/python" -m pip install --quiet --disable-pip-version-check \
        "nostr-relay==$version" || {
        echo "install.sh: pip could not install nostr-relay $version" >&2
        exit 4
    }
    rm -rf "$venv"
    mv "$venv.part" "$venv"
    # The scripts of a virtual environment name their interpreter by its first place.
    sed -i "1s|$venv.part|$venv|" "$venv"/bin/nostr-relay "$venv"/bin/pip*
fi

echo "$venv/bin/nostr-relay"
