# Shared by the scripts beside it: installing what is missing on Debian and Ubuntu. Sourced, not run.
# shellcheck shell=bash

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Runs a command as root: directly, or by sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root, and there is no sudo: $*"
  fi
}

# need PROGRAM PACKAGE ...: installs the packages of those programs (or files) that are not there.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    case $1 in
      /*) [ -e "$1" ] || missing+=("$2") ;;
      *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("$2") ;;
    esac
    shift 2
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "please install: ${missing[*]} (only Debian and Ubuntu are done by this script)"
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# What a build needs: a C compiler, make and perl for librdkafka and OpenSSL, which are built in, and Rust.
need_build() {
  need gcc gcc g++ g++ make make perl perl /usr/include/stdlib.h libc6-dev
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
  have=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
  if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ]; then return; fi
  say "installing Rust by rustup (found: ${have:-none}, wanted: $wanted or newer)"
  need curl curl /etc/ssl/certs/ca-certificates.crt ca-certificates
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt
  PATH="$HOME/.cargo/bin:$PATH"
}
