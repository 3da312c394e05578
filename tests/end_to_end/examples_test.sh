#!/bin/sh
# Runs the example programs with the demo model, as a user does. Checks stdout, stderr and exit codes.
#   examples_test.sh FOLDER-OF-THE-PROGRAMS      (run it in the root of the repository)
set -u
programs=$1
model=examples/assets/instructblip-demo
picture=examples/assets/scene.png
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
faults=0

holds() { [ -z "$2" ] || grep -qF -e "$2" "$1"; }

# expect WHAT EXIT-CODE TEXT-ON-STDOUT TEXT-ON-STDERR PROGRAM ARGUMENTS...
# An empty text is not checked.
expect() {
  what=$1 code=$2 out=$3 err=$4 program=$5
  shift 5
  "$programs/$program" "$@" >"$scratch/out" 2>"$scratch/err" <"$scratch/in"
  found=$?
  if [ "$found" -ne "$code" ] || ! holds "$scratch/out" "$out" ||
    ! holds "$scratch/err" "$err"; then
    echo "$what: expected exit code $code, \"$out\" on stdout and \"$err\" on stderr; found $found"
    cat "$scratch/out" "$scratch/err"
    faults=$((faults + 1))
  fi
}

: >"$scratch/in"
expect "vqa answers" 0 "it says tea" "" \
  vqa --model $model --image $picture "what does the sign say?"
expect "vqa searches with beams" 0 "the yellow circle" "" \
  vqa --model $model --image $picture --num-beams 5 "what is the leftmost object?"
expect "a stop string ends an answer" 0 "/scene.png: a small striped" "" \
  caption --model $model --prompt "describe the image" --stop-strings yellow -- $picture
expect "caption describes" 0 "a small dotted red cross, a large red ring and a sign that says tea" \
  "" caption --model $model $picture
expect "vqa names its version" 0 "instructblip 0." "" vqa --version
expect "inspect names its version" 0 "kernels" "" inspect --version
expect "inspect finds no problem" 0 "no problems found" "" inspect $model
expect "features of the queries" 0 "qformer [1, 10, 128]" "" \
  features --model $model --image $picture --part qformer --output "$scratch/queries.npy"
[ "$(wc -c <"$scratch/queries.npy")" -eq $((128 + 4 * 10 * 128)) ] || {
  echo "features: queries.npy has $(wc -c <"$scratch/queries.npy") bytes"
  faults=$((faults + 1))
}
expect "features of all parts" 0 "projected [1, 10, 128]" "" \
  features --model $model --image $picture --output "$scratch/all.safetensors"

expect "max-length counts the prompt" 0 "" "" \
  vqa --model $model --image $picture --max-length 20 "describe the image"
[ "$(tail -n 1 "$scratch/out")" = "  a small striped yellow circle, a" ] || {
  echo "vqa --max-length 20 gave: $(cat "$scratch/out")"
  faults=$((faults + 1))
}
expect "caption continues after a file that is not a picture" 1 "scene.png: a small" "README.md" \
  caption --model $model README.md $picture
expect "help names a program's own defaults" 0 "(default 5)" "" caption --help

expect "an unknown tokenizer is a wrong flag" 2 "" "expected auto or sentencepiece" \
  vqa --model $model --image $picture --tokenizer fast "what?"
# Without the component, the flag is wrong; with it, the demo model has no .model file.
"$programs/vqa" --model $model --image $picture --tokenizer sentencepiece "what?" 2>"$scratch/err"
found=$?
case "$found$(cat "$scratch/err")" in
  1*"has no tokenizer.model, which sentencepiece needs"*) ;;
  2*"no sentencepiece component: install libsentencepiece-dev"*) ;;
  *) echo "vqa --tokenizer sentencepiece: exit code $found, $(cat "$scratch/err")"
    faults=$((faults + 1)) ;;
esac

# Answers end at text_config's eos_token_id (here 418, " circle") and at the tokenizer's.
cp -r $model "$scratch/model"
sed 's/"eos_token_id": 2,/"eos_token_id": 418,/' $model/config.json >"$scratch/model/config.json"
for question in "describe the image" "what colour is the ring?"; do
  "$programs/vqa" --quiet --model "$scratch/model" --image $picture "$question"
done >"$scratch/out"
printf '%s\n' "describe the image" "  a small striped yellow circle" "what colour is the ring?" "  red" |
  cmp -s - "$scratch/out" || {
  echo "ends of answers: $(cat "$scratch/out")"
  faults=$((faults + 1))
}

rm "$scratch/model/tokenizer_config.json"
expect "a folder that does not name the tokenizer's class" 0 "red" \
  "no file names the tokenizer's class" vqa --model "$scratch/model" --image $picture "what colour is the ring?"
[ "$(grep -c "no file names" "$scratch/err")" -eq 1 ] || {
  echo "a warning was repeated: $(cat "$scratch/err")"
  faults=$((faults + 1))
}

lost() { # lost PROGRAM ARGUMENTS...: expects an error if stdout cannot be written
  program=$1
  shift
  "$programs/$program" "$@" 2>"$scratch/err" >/dev/full
  [ $? -eq 1 ] && grep -qF "standard output" "$scratch/err" && return
  echo "$program did not report that stdout could not be written"
  faults=$((faults + 1))
}
if [ -c /dev/full ]; then
  lost inspect $model
  lost vqa --model $model --image $picture "what does the sign say?"
  lost caption --model $model $picture
fi

cat >"$scratch/in" <<END
what colour is the ring?
/image absent.png
/image
/imagine
how many red objects are there?
END
expect "chat continues after an error" 0 "two" "absent.png" chat --model $model --image $picture
printf '  red\n  two\n' | cmp -s - "$scratch/out" || {
  echo "chat with piped questions printed more than the answers: $(cat "$scratch/out")"
  faults=$((faults + 1))
}
: >"$scratch/in"

for program in vqa caption chat features inspect; do
  expect "$program --help" 0 "Usage" "" $program --help
  expect "$program with a wrong flag" 2 "" "--help" $program --no-such-flag
done
expect "a file that is not a picture" 1 "" "error: " \
  vqa --model $model --image README.md "what is this?"
# A missing picture is reported before the model is loaded.
expect "vqa without its picture" 1 "" "absent.png" vqa --model tests --image absent.png "what?"
expect "chat without its picture" 1 "" "absent.png" chat --model tests --image absent.png
expect "features without its picture" 1 "" "absent.png" \
  features --model tests --image absent.png --output "$scratch/absent.safetensors"
expect "a folder that is not a model" 1 "" "error: " \
  vqa --model tests --image $picture "what is this?"
expect "a model name of the hub" 1 "" "nothing is downloaded" \
  vqa --model Salesforce/instructblip-vicuna-7b --image $picture "what is this?"
expect "inspect of a folder that is not a model" 1 "config.json" "" inspect tests

[ $faults -eq 0 ]
