#!/usr/bin/env bash
# Compiles an OpenTelemetry Collector of the components that otel-collector/config.yaml uses, in the
# versions of the image that docker-compose.yml names, and keeps it in the user's cache: for the
# tests in tests/deploy. Does nothing when it is there already. Needs Go and a Go module proxy.
#
#   deploy/install-collector.sh            compile unless it is there; prints the path at the end
#   deploy/install-collector.sh --path     print where it is, or would be, and do nothing
set -euo pipefail

# Contrib 0.140.1 goes with the builder 0.140.0; otel-collector/builder.yaml lists the rest.
readonly VERSION=v0.140.1
readonly BUILDER=go.opentelemetry.io/collector/cmd/builder@v0.140.0
# What those versions' go.mod ask for.
# shellcheck disable=SC2034  # go.sh reads both
readonly GO_NEEDED=1.24.0 TOOLCHAIN=go1.25.4

export HOME="${HOME:-$(cd ~ && pwd)}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/hush/otelcol-$VERSION"
binary="$cache_dir/otelcol"

# shellcheck source=deploy/go.sh
. "$here/go.sh"

answer_early "$binary" "$@"

if ! prepare_go; then
    say "Install it, or put a ready collector at $binary, or name one in HUSH_COLLECTOR."
    exit 1
fi
export GOFLAGS=-mod=mod

say "compiling a collector $VERSION with Go $(go_version "$go"); once, a minute or two"
start=$SECONDS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache_dir"
(cd "$work" && GOBIN="$work/bin" "$go" install "$BUILDER") >&2
# The builder calls "go" by that name.
(cd "$work" && PATH="$(dirname "$(command -v "$go")"):$PATH" ./bin/builder \
    --config "$here/otel-collector/builder.yaml") >&2
mv "$work/build/otelcol" "$binary.partial.$$" && mv "$binary.partial.$$" "$binary"
say "compiled in $((SECONDS - start)) s: $binary"
printf '%s\n' "$binary"
