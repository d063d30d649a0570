#!/usr/bin/env bash
# Compiles kustomize, with which tests/deploy builds the overlays of deploy/kubernetes, and keeps it
# in the user's cache. Does nothing when it is there already. Needs Go and a Go module proxy.
#
#   deploy/install-kustomize.sh            compile unless it is there; prints the path at the end
#   deploy/install-kustomize.sh --path     print where it is, or would be, and do nothing
set -euo pipefail

readonly VERSION=v5.7.1
# What its go.mod asks for.
# shellcheck disable=SC2034  # go.sh reads both
readonly GO_NEEDED=1.24.0 TOOLCHAIN=go1.25.4

export HOME="${HOME:-$(cd ~ && pwd)}"
binary="${XDG_CACHE_HOME:-$HOME/.cache}/hush/kustomize-$VERSION/kustomize"

# shellcheck source=deploy/go.sh
. "$(dirname "${BASH_SOURCE[0]}")/go.sh"

answer_early "$binary" "$@"
prepare_go
start=$SECONDS
mkdir -p "$(dirname "$binary")"
(cd / && GOFLAGS=-mod=mod GOBIN="$(dirname "$binary")" \
    "$go" install "sigs.k8s.io/kustomize/kustomize/v5@$VERSION") >&2
say "compiled in $((SECONDS - start)) s: $binary"
printf '%s\n' "$binary"
