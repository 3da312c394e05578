#!/bin/sh
# Installs missing packages, builds one example program and asks the demo model about a picture.
set -eu
cd "$(dirname "$0")/.."
sh cmake/install_dependencies.sh
log=build-demo/demo.log
mkdir -p build-demo
echo "Building (a few minutes, once); the output is kept in $log"

failed() {
  tail -n 40 "$log" >&2
  echo "failed: $*" >&2
  exit 1
}
# Runs a command with its output in the log; on failure prints the end of the log.
logged() { "$@" >>"$log" 2>&1 || failed "$*"; }
: >"$log"
logged cmake -S . -B build-demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DINSTRUCTBLIP_BUILD_TESTS=OFF
build="cmake --build build-demo --target vqa"
if [ -t 1 ] && command -v script >/dev/null; then
  script -qefa -c "$build" "$log" || failed "$build"  # a terminal: ninja shows its progress
else
  logged $build
fi
exec build-demo/examples/vqa --model examples/assets/instructblip-demo \
  --image examples/assets/scene.png "$@" \
  "what does the sign say?" \
  "what colour is the ring?" \
  "how many red objects are there?" \
  "is there a blue square?" \
  "what texture does the cross have?" \
  "what is the leftmost object?"
