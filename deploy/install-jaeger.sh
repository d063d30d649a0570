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

say() { printf 'install-jaeger: %s\n' "$*" >&2; }

go_version() { # of the go command named; nothing when it does not run
    (cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) | sed -n 's/^go\([0-9][0-9.]*\).*/\1/p'
}

at_least() { # at_least 1.26.1 1.25.0
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

find_go() { # sets go: the first that is new enough, else any that runs; fails when there is none
    local candidate version any=""
    go=""
    for candidate in go /usr/local/go/bin/go /usr/lib/go-1.*/bin/go /usr/lib/go/bin/go; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        version=$(go_version "$candidate")
        [ -n "$version" ] || continue
        if at_least "$version" "$GO_NEEDED"; then
            go=$candidate
            return 0
        fi
        [ -n "$any" ] || any=$candidate
    done
    go=$any
    [ -n "$go" ]
}

module_dir() { # module_dir MODULE@VERSION: downloads it and prints its folder
    local answer
    if answer=$(cd / && GOTOOLCHAIN=local GOFLAGS=-mod=mod "$go" mod download -json "$1"); then
        printf '%s\n' "$answer" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p'
    else
        say "the Go module proxy did not hand out $1"
        printf '%s\n' "$answer" >&2
        return 1
    fi
}

fetch_toolchain() { # with an old go, get the one of TOOLCHAIN: they are modules like any other
    local name root
    name="golang.org/toolchain@v0.0.1-$TOOLCHAIN.$("$go" env GOOS)-$("$go" env GOARCH)"
    say "fetching $TOOLCHAIN"
    root=$(module_dir "$name") || return 1
    # A module's files are not executable; Go's own switch of toolchains does the same.
    chmod -R a+x "$root/bin" "$root/pkg/tool"
    export GOROOT="$root"
    go="$root/bin/go"
}

install_go() { # Debian and Ubuntu, as root
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "no Go; installing Debian's"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 </dev/null || say "apt-get update failed; trying with the lists at hand"
    apt-get install -y -qq --no-install-recommends golang-go ca-certificates >&2 </dev/null &&
        find_go
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
    say "Go is missing: any will do, $GO_NEEDED or newer needs no download of another."
    say "Install it, or put a ready Jaeger 2 server at $binary, or name one in HUSH_JAEGER."
    exit 1
fi
at_least "$(go_version "$go")" "$GO_NEEDED" || fetch_toolchain
export GOTOOLCHAIN=local
export GOFLAGS=-mod=readonly CGO_ENABLED=0 GOWORK=off

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
