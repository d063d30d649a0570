#!/usr/bin/env bash
# Compiles the Jaeger server that the tests in tests/e2e read traces back from, and keeps it in
# the user's cache. Does nothing when it is there already. Needs Go and a Go module proxy; on
# Debian and Ubuntu, as root, Go is installed where none is fit.
#
#   deploy/install-jaeger.sh            compile unless it is there; prints the path at the end
#   deploy/install-jaeger.sh --path     print where it is, or would be, and do nothing
#
# docs/decisions/0001-jaeger-server-for-tests.md says why it is done this way.
set -euo pipefail

# The Go module v1.76.0 is the release that is called 2.13.0 elsewhere.
readonly MODULE=github.com/jaegertracing/jaeger
readonly VERSION=v1.76.0
# Two lines of that release's go.mod: the oldest Go that will do, and the one it recommends.
readonly GO_NEEDED=1.24.6
readonly TOOLCHAIN=go1.25.4

export HOME="${HOME:-$(cd ~ && pwd)}"
cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/hush/jaeger-$VERSION"
binary="$cache_dir/jaeger"

# shellcheck source=deploy/go.sh
. "$(dirname "${BASH_SOURCE[0]}")/go.sh"

answer_early "$binary" "$@"

if ! prepare_go; then
    say "Install it, or put a ready Jaeger 2 server at $binary, or name one in HUSH_JAEGER."
    exit 1
fi
export GOFLAGS=-mod=readonly

say "compiling Jaeger $VERSION with Go $(go_version "$go"); once, some minutes"
start=$SECONDS
mkdir -p "$cache_dir"
# "go install MODULE@VERSION" refuses: Jaeger's go.mod holds a replace directive. Building inside
# the downloaded module does not mind.
source_dir=$(module_dir "$MODULE@$VERSION")
partial="$binary.partial.$$"
trap 'rm -f "$partial"' EXIT
(cd "$source_dir" && "$go" build -trimpath -ldflags='-s -w' -o "$partial" ./cmd/jaeger) >&2
mv "$partial" "$binary"
seconds=$((SECONDS - start))
say "compiled in $((seconds / 60)) min $((seconds % 60)) s: $binary"
printf '%s\n' "$binary"
