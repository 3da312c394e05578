#!/bin/sh
# Builds the fuzz targets with clang and runs each for some seconds, two at a time. Prints what a
# target found and ends with an error. Findings are kept in build-fuzz/findings, inputs that reach
# new code in build-fuzz/corpus. A target with a file as its argument runs that file only. Needs
# clang with its runtime libraries (Debian: clang, libclang-rt-dev).
#   tests/fuzz/run.sh SECONDS [TARGET ...]      (run.sh 30 picture safetensors)
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:?usage: run.sh SECONDS [TARGET ...]}
shift

cmake -S . -B build-fuzz -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -g1" \
  -DCMAKE_CXX_COMPILER=clang++ -DINSTRUCTBLIP_BUILD_FUZZERS=ON -DINSTRUCTBLIP_BUILD_TESTS=OFF \
  -DINSTRUCTBLIP_BUILD_EXAMPLES=OFF
cmake --build build-fuzz
cd build-fuzz
tests/fuzz/write_seeds seeds
[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls | sed -n 's/_fuzzer$//p')
for target in "$@"; do mkdir -p "corpus/$target" findings; done

TMPDIR=$(mktemp -d)
trap 'rm -rf "$TMPDIR"' EXIT
export TMPDIR INSTRUCTBLIP_NUM_THREADS=1 UBSAN_OPTIONS=print_stacktrace=1
status=0
printf '%s\n' "$@" | xargs -P 2 -I{} sh -c "
  rm -f {}.done
  tests/fuzz/{}_fuzzer corpus/{} seeds/{} -artifact_prefix=findings/{}- -max_total_time=$seconds \
    -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 >{}.log 2>&1 &&
    touch {}.done" || status=1

for target in "$@"; do
  if [ -e "$target.done" ]; then
    echo "$target: $(grep -a DONE "$target.log")"
    continue
  fi
  tail -n 60 "$target.log"
  input=$(sed -n 's/.*Test unit written to //p' "$target.log")
  [ -n "$input" ] || continue
  echo "$target: found build-fuzz/$input"
  [ "$(wc -c <"$input")" -gt 4096 ] || base64 "$input"
done
exit $status
