#!/bin/sh
# Builds the library with its tests and runs all of them. Extra arguments go to ctest
# (-R PATTERN, ...).
set -eu
cd "$(dirname "$0")/.."
sh cmake/install_dependencies.sh --tests
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DINSTRUCTBLIP_BUILD_TESTS=ON
cmake --build build
ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
