#!/bin/sh
# Installs missing packages, builds one example program and asks the demo model about a picture.
set -eu
cd "$(dirname "$0")/.."
sh cmake/install_dependencies.sh
log=build-demo/demo.log
mkdir -p build-demo
echo "Building (a few minutes, once); the output is kept in $log"

# Runs a command with its output in the log; on failure prints the end of the log.
logged() {
  "$@" >>"$log" 2>&1 && return
  tail -n 40 "$log" >&2
  echo "failed: $*" >&2
  exit 1
}
: >"$log"
logged cmake -S . -B build-demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DINSTRUCTBLIP_BUILD_TESTS=OFF
if [ -t 1 ]; then
  cmake --build build-demo --target vqa  # ninja shows its progress and any error
else
  logged cmake --build build-demo --target vqa
fi
exec build-demo/examples/vqa --model examples/assets/instructblip-demo \
  --image examples/assets/scene.png "$@" \
  "what does the sign say?" \
  "what colour is the ring?" \
  "how many red objects are there?" \
  "is there a blue square?" \
  "what texture does the cross have?" \
  "what is the leftmost object?"
