#!/bin/sh
# Builds the library for ARM64 with a cross compiler, runs its tests in an emulator (qemu), and asks the
# demo model. Needs the packages debootstrap, g++-aarch64-linux-gnu and qemu-user-static.
#   tests/arm64.sh [FOLDER [CTEST-ARGUMENTS...]]
# FOLDER (default: build-arm64) receives the libraries of Debian 12 for ARM64 and the build. Without
# further arguments all tests run but those that ask the demo models many questions, which take minutes
# each in the emulator.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build-arm64}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- -E "DemoTasks|DemoModelTest.(Greedy|Beam|ABatch|EverySample)"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
system=$folder/system

packages=libc6-dev,libeigen3-dev,libstb-dev,libjpeg-dev,libwebp-dev,nlohmann-json3-dev,libcli11-dev,libedit-dev
packages=$packages,libgtest-dev,libsentencepiece-dev
if [ "$(cat "$folder/unpacked" 2>/dev/null)" != "$packages" ]; then
  rm -rf "$system"
  debootstrap --download-only --arch=arm64 --variant=minbase --include="$packages" \
    bookworm "$system" http://deb.debian.org/debian
  for package in "$system"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$system"; done
  echo "$packages" >"$folder/unpacked"
fi

emulator="qemu-aarch64-static;-L;$system"
export PKG_CONFIG_SYSROOT_DIR="$system"
export PKG_CONFIG_LIBDIR="$system/usr/lib/aarch64-linux-gnu/pkgconfig:$system/usr/share/pkgconfig"
cmake -S . -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DINSTRUCTBLIP_WARNINGS_AS_ERRORS=ON \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_SYSROOT="$system" \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator" \
  -DCMAKE_FIND_ROOT_PATH_MODE_PROGRAM=NEVER -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY \
  -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY
cmake --build "$folder/build"
ctest --test-dir "$folder/build" --output-on-failure -j "$(nproc)" --timeout 1200 "$@"
answer=$(qemu-aarch64-static -L "$system" "$folder/build/examples/vqa" --quiet \
  --model examples/assets/instructblip-demo --image examples/assets/scene.png "what does the sign say?")
echo "$answer"
echo "$answer" | grep -q "it says tea"
