#!/bin/sh
# Checks what the local parts need: Python 3.11, Java 17, Maven. Installs a missing Java or Maven with the system's
# package manager when it may (root, or sudo without a password; Homebrew as the user); otherwise says what to install.
set -eu

PYTHON="${PYTHON:-python3}"
JAVA_MIN=17

fail() {
    echo "setup: $*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

java_version() {
    java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
    # macOS has a `java` on the PATH that only says where to get one: no version then.
    "$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1
}

java_is_fit() {
    version="$(java_version || true)"
    [ -n "$version" ] && [ "$version" -ge "$JAVA_MIN" ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_be_root() {
    [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }
}

# Arguments: what is missing, of: java maven
install_missing() {
    packages=""
    if have apt-get; then
        for part in "$@"; do
            case "$part" in java) packages="$packages openjdk-17-jre-headless" ;; maven) packages="$packages maven" ;; esac
        done
        may_be_root || fail "install with: sudo apt-get install$packages"
        # Debian and Ubuntu drop old Java versions: where 17 is gone, the default one is newer.
        as_root apt-get update -q || echo "setup: package lists are not fresh; going on" >&2
        if ! apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
            packages="$(echo "$packages" | sed 's/openjdk-17-jre-headless/default-jre-headless/')"
        fi
        # shellcheck disable=SC2086  # a list of words
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
    elif have dnf; then
        for part in "$@"; do
            case "$part" in java) packages="$packages java-17-openjdk-headless" ;; maven) packages="$packages maven" ;; esac
        done
        may_be_root || fail "install with: sudo dnf install$packages"
        # shellcheck disable=SC2086
        as_root dnf install -q -y $packages
    elif have brew; then
        for part in "$@"; do
            case "$part" in java) packages="$packages openjdk@17" ;; maven) packages="$packages maven" ;; esac
        done
        # shellcheck disable=SC2086
        brew install -q $packages
        # Homebrew keeps this Java off the PATH; Halcyon and this script look at JAVA_HOME first.
        if ! java_is_fit; then
            fail "add to your shell: export JAVA_HOME=$(brew --prefix openjdk@17)/libexec/openjdk.jdk/Contents/Home"
        fi
    else
        fail "install a Java $JAVA_MIN (or newer) and Maven: $* missing, and no apt-get, dnf or brew found"
    fi
}

have "$PYTHON" || fail "install Python 3.11 or newer: $PYTHON is not on the PATH"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "install Python 3.11 or newer: $PYTHON is $("$PYTHON" --version 2>&1); or set PYTHON"

if [ -n "${JAVA_HOME:-}" ] && ! java_is_fit; then
    fail "JAVA_HOME=$JAVA_HOME holds no Java $JAVA_MIN or newer: unset it, or set it to one that is"
fi

missing=""
java_is_fit || missing="$missing java"
have mvn || missing="$missing maven"
if [ -n "$missing" ]; then
    echo "setup: missing:$missing"
    # shellcheck disable=SC2086
    install_missing $missing
fi

java_is_fit || fail "Java is still missing or older than $JAVA_MIN: install one and set JAVA_HOME to it"
have mvn || fail "Maven (mvn) is still missing: install it"
echo "setup: $("$PYTHON" --version), Java $(java_version), Maven: ready"
