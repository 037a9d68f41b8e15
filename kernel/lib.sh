# shellcheck shell=bash
# Shared by the scripts next to it. Sourced, with the repository as the current directory after it.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

kernel_source_package=linux-source-6.12
kernel_series=kernel/patches/linux-6.12
kernel_cache=${XDG_CACHE_HOME:-$HOME/.cache}/mmapstorage

# What the kernel is built with, and what boots it.
need_kernel_packages() {
  need_packages "$kernel_source_package" gcc make bc bison flex libelf-dev libssl-dev dwarves \
    cpio gzip patch xz-utils rsync
}

need_boot_packages() {
  need_packages qemu-system-x86 busybox-static cpio gzip
}

kernel_source_version() {
  dpkg-query -W -f '${Version}' "$kernel_source_package"
}

# The configuration fragments of a flavour, 'plain' or 'debug', in the order in which they apply.
kernel_fragments() {
  echo kernel/config/base.config
  echo kernel/config/bpf.config
  if [[ $1 == debug ]]; then echo kernel/config/debug.config; fi
}

# The patches of a kernel, in the order in which they apply: the series, and the extra patch if
# there is one.
kernel_patches() {
  find "$kernel_series" -name '[0-9]*.patch' ! -name '0000-*' 2>/dev/null | LC_ALL=C sort
  if [[ -n ${1:-} ]]; then echo "$1"; fi
}

# Names a kernel by everything that decides what is in it.
kernel_key() { # flavour, extra patch
  local fragments patches selftests=(kernel/selftests/build kernel/selftests/*.[ch])
  mapfile -t fragments < <(kernel_fragments "$1")
  mapfile -t patches < <(kernel_patches "${2:-}")
  {
    kernel_source_version
    echo
    gcc --version | head -n 1
    ld --version | head -n 1
    pahole --version
    cat "${selftests[@]}" "${fragments[@]}" "${patches[@]}"
  } | sha256sum | cut -c 1-16
}

# The newest of Debian's own kernels of a version such as 6.1.
stock_package() { # version
  local newest
  newest=$(apt-cache pkgnames "linux-image-$1." |
    grep -E '^linux-image-[0-9.]+(-[0-9]+|\+deb[0-9]+)-amd64-unsigned$' | sort -V | tail -n 1)
  [[ -n $newest ]] || die "apt knows no kernel image of Linux $1; try 'apt-get update', or another version"
  printf '%s\n' "$newest"
}

# Where kernel/build leaves the bzImage, and for those that it compiles the configuration and the
# selftests.
kernel_image_directory() { # flavour, extra patch
  case $1 in
    stock-*) printf '%s/images/stock-%s\n' "$kernel_cache" "$(stock_package "${1#stock-}")" ;;
    *) printf '%s/images/%s-%s\n' "$kernel_cache" "$1" "$(kernel_key "$@")" ;;
  esac
}

# Reads the options that build, run and test have in common, and returns 0 if the argument was read
# as well. Sets 'flavour', 'extra_patch'.
# shellcheck disable=SC2034 # the scripts use them
kernel_option() { # option, its argument
  case $1 in
    --debug) flavour=debug && return 1 ;;
    --stock)
      [[ ${2:-} =~ ^[0-9]+\.[0-9]+$ ]] || die "--stock needs a version, such as 6.1"
      flavour=stock-$2
      ;;
    --extra-patch)
      [[ -f ${2:-} ]] || die "--extra-patch needs a patch file"
      extra_patch=$(realpath "$2")
      ;;
    *) die "unknown option '$1'; see the first lines of $0" ;;
  esac
}
