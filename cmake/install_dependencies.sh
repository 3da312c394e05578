#!/bin/sh
# Installs the missing packages that the build needs, on Debian or Ubuntu.
# usage: install_dependencies.sh [--tests] [--ci]
set -eu

packages="g++ cmake ninja-build pkg-config libeigen3-dev libstb-dev libjpeg-dev
          libwebp-dev nlohmann-json3-dev libcli11-dev libedit-dev"
for option in "$@"; do
  case "$option" in
    --tests) packages="$packages libgtest-dev libprotobuf-dev libsentencepiece-dev" ;;
    --ci) packages="$packages clang libclang-rt-dev g++-11 doxygen libbenchmark-dev" ;;
    *) echo "unknown option $option" >&2; exit 2 ;;
  esac
done

missing=""
for package in $packages; do
  state=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$state" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "Please install (named as in Debian):$missing" >&2
  exit 1
fi
as_root=""
[ "$(id -u)" -eq 0 ] || as_root=sudo
echo "Installing:$missing"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
