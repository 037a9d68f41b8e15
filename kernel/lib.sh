# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared by the scripts of this directory. After it is sourced, the current directory is the
# repository.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

kernel_version=7.3
kernel_source_package=linux-source-$kernel_version
kernel_source_suite=trixie-backports
kernel_series=kernel/patches/linux-$kernel_version
kernel_patch_names='[0-9]*.patch'
kernel_cache=${XDG_CACHE_HOME:-$HOME/.cache}/mmapstorage

# The packages for building and booting the kernel.
need_kernel_packages() {
  need_packages gcc make bc bison flex libelf-dev libssl-dev dwarves cpio gzip patch xz-utils rsync \
    debian-archive-keyring
}

need_boot_packages() { # flavour
  if [[ $1 == arm64* ]]; then need_packages qemu-system-arm; fi
  need_packages qemu-system-x86 busybox-static cpio gzip
}

# The version of the source in the cache; fails if there is none.
kernel_source_version() {
  cat "$kernel_cache/$kernel_source_package.version" 2>/dev/null
}

# Downloads a package of Debian into a folder. apt uses lists and a cache below the cache folder, so
# the machine's sources, package lists and architectures do not change.
download_package() { # suite, architecture, package, folder
  local apt=$kernel_cache/apt/$1-$2 options
  mkdir -p "$apt"/{parts,state/lists/partial,cache/archives/partial} "$4"
  printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg \
    "${MMAPSTORAGE_DEBIAN_MIRROR:-http://deb.debian.org/debian}" "$1" >"$apt/sources.list"
  options=(-q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts"
    -o Dir::Etc::preferencesparts="$apt/parts" -o Dir::State="$apt/state" -o Dir::Cache="$apt/cache"
    -o Dir::State::status="$apt/state/status" -o APT::Architecture="$2" -o APT::Architectures="$2"
    -o APT::Sandbox::User=root -o Acquire::Retries=3)
  : >"$apt/state/status"
  if ! { apt-get "${options[@]}" update && cd "$4" && rm -f "$3"_*.deb &&
    apt-get "${options[@]}" download "$3" && cd - >/dev/null; } >"$apt/log" 2>&1; then
    cat "$apt/log" >&2
    die "apt could not download $3 from $1; see its messages above"
  fi
}

# Unpacks the source package to linux-VERSION/pristine in the cache.
fetch_kernel_source() {
  local unpacking=$kernel_cache/unpacking version package
  rm -rf "$unpacking"
  say "Downloading $kernel_source_package from $kernel_source_suite"
  download_package "$kernel_source_suite" amd64 "$kernel_source_package" "$unpacking"
  package=$(find "$unpacking" -name "${kernel_source_package}_*.deb")
  version=$(dpkg-deb -f "$package" Version)

  say "Unpacking $kernel_source_package $version"
  mkdir -p "$unpacking/source" "$kernel_cache/linux-$version"
  dpkg-deb --fsys-tarfile "$package" | tar -xf - -C "$unpacking"
  tar -xf "$unpacking/usr/src/$kernel_source_package.tar.xz" -C "$unpacking/source" --strip-components=1
  rm -rf "$kernel_cache/linux-$version/pristine"
  mv "$unpacking/source" "$kernel_cache/linux-$version/pristine"
  rm -rf "$unpacking"
  printf '%s\n' "$version" >"$kernel_cache/$kernel_source_package.version"
}

# The libraries for linking the selftests on arm64, and a shell for its initial file system.
need_arm64_packages() {
  local package root=$kernel_cache/arm64-root
  need_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  [[ ! -f $root/done ]] || return 0
  rm -rf "$root"
  for package in libelf-dev zlib1g-dev busybox-static; do
    say "Downloading $package for arm64"
    download_package bookworm arm64 "$package" "$root"
    dpkg-deb -x "$root/$package"_*.deb "$root"
  done
  : >"$root/done"
}

# Downloads the source unless it is in the cache. Its version does not change afterwards.
need_kernel_source() {
  local version fetch_lock
  mkdir -p "$kernel_cache"
  exec {fetch_lock}>"$kernel_cache/fetch-lock"
  flock "$fetch_lock"
  if ! version=$(kernel_source_version) || [[ ! -d $kernel_cache/linux-$version/pristine ]]; then
    fetch_kernel_source
  fi
  exec {fetch_lock}>&-
}

# The configuration fragments of a flavour, in order.
kernel_fragments() {
  echo kernel/config/base.config
  echo kernel/config/bpf.config
  if [[ $1 != arm64* ]]; then echo kernel/config/x86.config; fi
  if [[ $1 != plain ]]; then echo "kernel/config/$1.config"; fi
}

# The patches of a kernel, in order: the fix for the bpf tree, the series for bpf-next, and the
# extra patch if there is one. With --unpatched, only their selftests.
kernel_patches() {
  local series
  for series in bpf bpf-next; do
    find "$kernel_series/$series" -name "$kernel_patch_names" ! -name '0000-*' | LC_ALL=C sort
  done
  if [[ -n ${1:-} ]]; then echo "$1"; fi
}

# A hash of all inputs of a kernel.
kernel_key() { # flavour, extra patch
  local fragments patches scripts=(kernel/build kernel/selftests/build* kernel/selftests/*.[ch])
  local tool cross=''
  if [[ $1 == arm64* ]]; then cross=aarch64-linux-gnu-; fi
  mapfile -t fragments < <(kernel_fragments "$1")
  mapfile -t patches < <(kernel_patches "${2:-}")
  {
    kernel_source_version
    echo
    for tool in "${cross}gcc" "${cross}ld" gcc ld clang pahole; do
      "$tool" --version | head -n 1
    done
    if [[ -n $cross ]]; then printf '%s\n' "$kernel_cache"/arm64-root/*.deb; fi
    cat "${scripts[@]}" "${fragments[@]}" "${patches[@]}"
  } | sha256sum | cut -c 1-16
}

# The newest kernel package of Debian for a version such as 6.1.
stock_package() { # version
  local newest
  newest=$(apt-cache pkgnames "linux-image-$1." |
    grep -E '^linux-image-[0-9.]+(-[0-9]+|\+deb[0-9]+)-amd64-unsigned$' | sort -V | tail -n 1)
  [[ -n $newest ]] || die "apt has no kernel image of Linux $1; try 'apt-get update', or another version"
  printf '%s\n' "$newest"
}

# The folder with the bzImage that kernel/build created, and for compiled kernels with the
# configuration and the selftests.
kernel_image_directory() { # flavour, extra patch
  case $1 in
    stock-*) printf '%s/images/stock-%s\n' "$kernel_cache" "$(stock_package "${1#stock-}")" ;;
    *) printf '%s/images/%s-%s\n' "$kernel_cache" "$1" "$(kernel_key "$@")" ;;
  esac
}

# Reads the common options of build, run and test. Returns 0 if it also used the argument. Sets
# 'flavour', 'extra_patch', 'kernel_patch_names'.
# shellcheck disable=SC2034 # the scripts use them
kernel_option() { # option, its argument
  case $1 in
    --debug) flavour=debug && return 1 ;;
    --unpatched) kernel_patch_names='[0-9]*-selftests-*.patch' && return 1 ;;
    --flavour)
      # Other flavours contain these fragments.
      [[ ${2:-} == plain || (-f kernel/config/${2:-}.config && $2 != base && $2 != bpf && $2 != x86) ]] ||
        die "--flavour needs plain, debug, kcsan, rt, arm64 or arm64-64k"
      flavour=$2
      ;;
    --stock)
      [[ ${2:-} =~ ^[0-9]+\.[0-9]+$ ]] || die "--stock needs a version, such as 6.1"
      flavour=stock-$2
      ;;
    --extra-patch)
      extra_patch=$(callers_path "${2:-}")
      [[ -f $extra_patch ]] || die "--extra-patch needs a patch file"
      ;;
    *) die "unknown option '$1'; see the first lines of $0" ;;
  esac
}
