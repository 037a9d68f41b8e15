# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Shared by the scripts of this directory. After it is sourced, the current directory is the
# repository.

script=$(readlink -f "$0")
caller_directory=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() { printf '==> %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints the comment at the beginning of the script that sources this, if its first argument is --help.
if [[ ${1:-} == --help || ${1:-} == -h ]]; then
  sed -n '3,/^[^#]/s/^# \{0,1\}//p' "$script"
  exit
fi

# The path that an argument of the script means in the directory in which the script was called.
callers_path() {
  case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$caller_directory/$1" ;;
  esac
}

# Fails if there are arguments, with the remaining arguments of the script.
no_arguments() {
  (($# == 0)) || die "unexpected argument '$1'; see ${script##*/} --help"
}

# Installs the Debian packages that are missing. Does nothing, and needs no privileges, if none is missing.
need_packages() {
  local package missing=() as_root=()
  if ! command -v apt-get >/dev/null; then
    say "There is no apt-get: assuming that the Debian packages $*, or their equivalents, are installed"
    return 0
  fi
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing ${missing[*]}"
  "${as_root[@]}" apt-get -qq update ||
    say "apt-get update failed; trying with the package lists that are there"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install ${missing[*]}; see its messages above"
}

# Checks that there is a Swift toolchain that can build this package, and prepares its packages.
need_swift() {
  local version
  command -v swift >/dev/null ||
    die "there is no swift in PATH; install Swift 6.3 or later from https://www.swift.org/install"
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  [[ -n "$version" ]] || die "'swift --version' names no version"
  ((${version%.*} > 6 || (${version%.*} == 6 && ${version#*.} >= 3))) ||
    die "this is Swift $version; install Swift 6.3 or later from https://www.swift.org/install"
  # After a file was added or removed in a package that a package depends on by path, SwiftPM builds
  # the dependent package with the old list of files until its manifest is newer.
  touch Benchmarks/Package.swift Benchmarks/Server/Package.swift Examples/Package.swift Tools/Package.swift
}

# The block of text that follows a line.
printed_after() { # line file
  awk -v line="$1" '
    $0 == line { found = 1; next }
    found && /^```/ { if (inside) exit; inside = 1; next }
    found && inside
  ' "$2"
}

# Text without what differs in each run: directories, numbers, states and the widths of columns.
masked() {
  sed -E -e "s#(…|)/([^] \":'(]*/|)##g" -e 's/[0-9]+/N/g' -e 's/REQUEST_(IDLE|HANDLING)/STATE/g' \
    -e 's/[[:space:]]+/ /g' -e 's/^ //'
}

# Checks that an output has each line of the block that follows a line of an article.
quotes_lines() { # line, article, output
  local expected line output
  expected=$(printed_after "$1" "$2" | masked)
  [[ -n $expected ]] || die "$2 has no text after the line: $1"
  output=$(masked <<<"$3")
  while read -r line; do
    grep -qxF -e "$line" <<<"$output" ||
      die "$2 has a line that is not printed: $line"$'\n'"Printed is:"$'\n'"$3"
  done <<<"$expected"
}
