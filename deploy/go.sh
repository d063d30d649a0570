# Finds a Go that is new enough, or brings one. Sourced by the install-*.sh beside it, which set
# GO_NEEDED and TOOLCHAIN, call answer_early, and then prepare_go: it sets go, and the variables that
# building in a downloaded module needs.

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

answer_early() { # answer_early BINARY ARGUMENT...: exits where nothing is to be compiled
    case "${2:-}" in
    --path) ;;
    "")
        [ -x "$1" ] || return 0
        say "found $1"
        ;;
    *)
        say "unknown argument: $2 (known: --path)"
        exit 2
        ;;
    esac
    printf '%s\n' "$1"
    exit 0
}

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

prepare_go() {
    if ! find_go && ! install_go; then
        say "Go is missing: any will do, $GO_NEEDED or newer needs no download of another."
        return 1
    fi
    at_least "$(go_version "$go")" "$GO_NEEDED" || fetch_toolchain
    export GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off
}
