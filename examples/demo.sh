#!/bin/sh
# Installs missing packages, builds one example program and asks the demo model about a picture.
set -eu
cd "$(dirname "$0")/.."
sh cmake/install_dependencies.sh
echo "Building (a few minutes, once) ..."
cmake -S . -B build-demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DINSTRUCTBLIP_BUILD_TESTS=OFF \
  >/dev/null
cmake --build build-demo --target vqa >/dev/null
exec build-demo/examples/vqa --model examples/assets/instructblip-demo \
  --image examples/assets/scene.png "$@" \
  "what does the sign say?" \
  "what colour is the ring?" \
  "how many red objects are there?" \
  "is there a blue square?" \
  "what texture does the cross have?" \
  "what is the leftmost object?"
