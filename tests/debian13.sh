#!/bin/sh
# Runs the README's two commands in a fresh Debian 13 (g++ 14, CMake 3.31), the tests with warnings as
# errors.
# Needs root and the package debootstrap. Run it before each release.
#   tests/debian13.sh [FOLDER]
# FOLDER receives the system (3 GB; default: build-debian13). It is kept: delete it to begin anew.
set -eu
cd "$(dirname "$0")/.."
root=${1:-build-debian13}
mkdir -p "$root"
root=$(cd "$root" && pwd)

if [ ! -e "$root/installed" ]; then
  debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian
  touch "$root/installed"
fi
mkdir -p "$root/source"
find "$root/source" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard |
  tar --null --files-from=- --ignore-failed-read -cf - | tar -C "$root/source" -xf -

# The mounts end with the process that made them.
exec unshare --mount sh -c '
  mount -t proc proc "$1/proc"
  mount --rbind /dev "$1/dev"
  exec chroot "$1" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" sh -euc "
    cd /source
    sh examples/demo.sh
    sh cmake/install_dependencies.sh --tests
    cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DINSTRUCTBLIP_WARNINGS_AS_ERRORS=ON
    sh tests/run.sh"' sh "$root"
