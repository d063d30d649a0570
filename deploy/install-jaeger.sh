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
# The go directive of that release's go.mod.
readonly GO_NEEDED=1.25.0

cache_dir="${XDG_CACHE_HOME:-$HOME/.cache}/hush/jaeger-$VERSION"
binary="$cache_dir/jaeger"

say() { printf 'install-jaeger: %s\n' "$*" >&2; }

go_version() { # of the go command named; nothing when it does not run
    (cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) | sed -n 's/^go\([0-9][0-9.]*\).*/\1/p'
}

at_least() { # at_least 1.26.1 1.25.0
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# Go 1.21 and newer fetch the toolchain that a module asks for from the module proxy.
can_fetch_toolchain() { at_least "$1" 1.21; }

find_go() { # sets go; prefers one that needs no other toolchain
    local candidate version
    go=""
    for candidate in go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go "$HOME"/go/bin/go /usr/lib/go/bin/go; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        version=$(go_version "$candidate")
        [ -n "$version" ] || continue
        if at_least "$version" "$GO_NEEDED"; then
            go=$candidate
            return 0
        fi
    done
    for candidate in go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        version=$(go_version "$candidate")
        if [ -n "$version" ] && can_fetch_toolchain "$version"; then
            go=$candidate
            return 0
        fi
    done
    return 1
}

install_go() { # Debian and Ubuntu, as root
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "no Go that is new enough; asking apt-get for one"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 </dev/null || say "apt-get update failed; trying with the lists at hand"
    local package
    # Newest first: what a release has, backports included, differs.
    for package in $(apt-cache search --names-only '^golang-1\.[0-9]+-go$' | cut -d' ' -f1 | sort -rV) \
        golang-go; do
        if apt-get install -y -qq --no-install-recommends "$package" ca-certificates \
            >&2 </dev/null && find_go; then
            return 0
        fi
    done
    return 1
}

case "${1:-}" in
--path)
    printf '%s\n' "$binary"
    exit 0
    ;;
"") ;;
*)
    say "unknown argument: $1 (known: --path)"
    exit 2
    ;;
esac

if [ -x "$binary" ]; then
    say "found $binary"
    printf '%s\n' "$binary"
    exit 0
fi

if ! find_go && ! install_go; then
    say "Go $GO_NEEDED or newer is needed (1.21 will do where it may fetch a newer toolchain)."
    say "Install it, or put a ready Jaeger 2 server at $binary or name it in HUSH_JAEGER."
    exit 1
fi

version=$(go_version "$go")
if at_least "$version" "$GO_NEEDED"; then
    export GOTOOLCHAIN=local
else
    say "Go $version will fetch the toolchain that Jaeger asks for"
    export GOTOOLCHAIN=auto
fi
export GOFLAGS=-mod=readonly CGO_ENABLED=0 GOWORK=off

say "compiling Jaeger $VERSION with Go $version; once, some minutes"
start=$SECONDS
mkdir -p "$cache_dir"
# "go install MODULE@VERSION" refuses: Jaeger's go.mod holds a replace directive. Building inside
# the downloaded module does not mind.
source_dir=$(cd / && "$go" mod download -json "$MODULE@$VERSION" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p')
if [ -z "$source_dir" ]; then
    say "the Go module proxy did not hand out $MODULE@$VERSION"
    exit 1
fi
partial="$binary.partial.$$"
trap 'rm -f "$partial"' EXIT
(cd "$source_dir" && "$go" build -trimpath -ldflags='-s -w' -o "$partial" ./cmd/jaeger) >&2
mv "$partial" "$binary"
seconds=$((SECONDS - start))
say "compiled in $((seconds / 60)) min $((seconds % 60)) s: $binary"
printf '%s\n' "$binary"
