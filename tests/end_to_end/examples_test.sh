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
export INSTRUCTBLIP_CACHE="$scratch/cache"

fault() { # fault WHAT FOUND
  echo "$1: $2"
  faults=$((faults + 1))
}

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
for program in vqa caption chat features inspect; do
  expect "$program names its version" 0 "instructblip 0." "" $program --version
done
export INSTRUCTBLIP_NUM_THREADS=1
expect "one thread" 0 ", 1 thread, " "" vqa --version
unset INSTRUCTBLIP_NUM_THREADS
for program in vqa caption features; do
  expect "$program --help names WebP" 0 "WebP" "" $program --help
done
expect "inspect finds no problem" 0 "no problems found" "" inspect $model
expect "features of the queries" 0 "qformer [1, 10, 128]" "" \
  features --model $model --image $picture --part qformer --output "$scratch/queries.npy"
expect "quantize writes a folder" 0 "$scratch/int4: 46 matrices quantised" "" \
  quantize --model $model --to "$scratch/int4" --weights int4
expect "vqa answers with a quantised folder" 0 "it says tea" "" \
  vqa --model "$scratch/int4" --image $picture "what does the sign say?"
expect "inspect finds no problem in a quantised folder" 0 "no problems found" "" \
  inspect "$scratch/int4"
holds "$scratch/out" "quantised (compressed-tensors mixed-precision)" &&
  grep -q "^  vision_model  *int8 " "$scratch/out" &&
  grep -q "^  language_model  *int4-g128 " "$scratch/out" ||
  fault "inspect says how a folder is quantised" "$(cat "$scratch/out")"
expect "quantize does not overwrite" 1 "" "int4: exists already" \
  quantize --model $model --to "$scratch/int4"
bytes=$(wc -c <"$scratch/queries.npy")
[ "$bytes" -eq $((128 + 4 * 10 * 128)) ] || fault "features: the size of queries.npy" "$bytes"
expect "features of all parts" 0 "projected [1, 10, 128]" "" \
  features --model $model --image $picture --output "$scratch/all.safetensors"

# The pictures that fit a sentence. Their embeddings are kept, and computed for new pictures only.
matcher=examples/assets/blip2-demo-itm
mkdir "$scratch/pictures"
cp tests/end_to_end/fixtures/demo/scene_00[0-9].png "$scratch/pictures"
sentence="a small striped white circle"
expect "retrieve finds a picture" 0 "scene_001.png" "for 10 new pictures" \
  retrieve --model $matcher "$scratch/pictures" "$sentence" --top 1 --timings
[ -f "$scratch/pictures.retrieve.safetensors" ] || fault "retrieve" "the embeddings are not kept"
cp tests/end_to_end/fixtures/demo/scene_010.png "$scratch/pictures"
touch "$scratch/pictures/scene_003.png"
expect "retrieve embeds new and changed pictures" 0 "scene_001.png" "for 2 new pictures" \
  retrieve --model $matcher "$scratch/pictures/" "$sentence" --top 1 --timings
rm "$scratch/pictures/scene_010.png"
expect "retrieve forgets pictures" 0 '"rank":1,"file":"'"$scratch/pictures/scene_001.png" \
  "for 0 new pictures" retrieve --model $matcher "$scratch/pictures" "$sentence" --json --timings
[ "$(grep -c '"match":' "$scratch/out")" -eq 10 ] || fault "retrieve --json" "$(cat "$scratch/out")"
expect "retrieve writes a contact sheet" 0 "    -" "" retrieve --model $matcher --rerank 2 --top 3 \
  --montage "$scratch/sheet.png" "$scratch/pictures/*.png" "$sentence" "ring"
expect "the contact sheet is a picture" 0 "vision [1, 65, 128]" "" features --model $model \
  --image "$scratch/sheet.png" --part vision --output "$scratch/sheet.npy"
echo "no index" >"$scratch/pictures.retrieve.safetensors"
expect "retrieve makes a broken index anew" 0 "scene_001.png" "the index of pictures is made anew" \
  retrieve --model $matcher "$scratch/pictures" "$sentence"
cp README.md "$scratch/pictures/readme.png"
expect "retrieve goes on after a file that is not a picture" 1 "scene_001.png" "1 of 11 pictures" \
  retrieve --model $matcher "$scratch/pictures" "$sentence"
expect "a folder that writes text does not compare" 1 "" "a model that writes text" \
  retrieve --model $model "$scratch/pictures" "$sentence"
expect "inspect knows a folder that compares" 0 "no problems found" "" inspect $matcher
expect "a folder that compares writes no text" 1 "" "load_retrieval" \
  vqa --model $matcher --image $picture "what?"

expect "max-length counts the prompt" 0 "" "" \
  vqa --model $model --image $picture --max-length 20 "describe the image"
[ "$(tail -n 1 "$scratch/out")" = "  a small striped yellow circle, a" ] ||
  fault "vqa --max-length 20" "$(cat "$scratch/out")"
expect "caption continues after a file that is not a picture" 1 "scene.png: a small" "README.md" \
  caption --model $model README.md $picture
expect "help names a program's own defaults" 0 "(default 5)" "" caption --help

expect "an unknown tokenizer is a wrong flag" 2 "" "expected auto or sentencepiece" \
  vqa --model $model --image $picture --tokenizer fast "what?"
# Without the component, the flag is wrong; with it, the demo model has no .model file.
"$programs/vqa" --model $model --image $picture --tokenizer sentencepiece "what?" 2>"$scratch/err"
found=$?
case "$found$(cat "$scratch/err")" in
  1*"has no tokenizer.model, which sentencepiece needs"*"or unset --tokenizer to use"*) ;;
  2*"no sentencepiece component: install libsentencepiece-dev"*) ;;
  *) echo "vqa --tokenizer sentencepiece: exit code $found, $(cat "$scratch/err")"
    faults=$((faults + 1)) ;;
esac

# Answers end at text_config's eos_token_id (here that of " circle") and at the tokenizer's.
cp -r $model "$scratch/model"
circle=$(sed -n 's/.*"▁circle": \([0-9]*\).*/\1/p' $model/tokenizer.json)
sed "s/\"eos_token_id\": 2,/\"eos_token_id\": $circle,/" $model/config.json >"$scratch/model/config.json"
for question in "describe the image" "what colour is the ring?"; do
  "$programs/vqa" --quiet --model "$scratch/model" --image $picture "$question"
done >"$scratch/out"
printf '%s\n' "describe the image" "  a small striped yellow circle" "what colour is the ring?" "  red" |
  cmp -s - "$scratch/out" || fault "ends of answers" "$(cat "$scratch/out")"

rm "$scratch/model/tokenizer_config.json"
expect "a folder that does not name the tokenizer's class" 0 "red" \
  "no file names the tokenizer's class" vqa --model "$scratch/model" --image $picture "what colour is the ring?"
[ "$(grep -c "no file names" "$scratch/err")" -eq 1 ] ||
  fault "a warning was repeated" "$(cat "$scratch/err")"

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

# Weights that are read give the same answers as mapped ones.
expect "weights that are read" 0 "  it says tea" "" \
  vqa --model $model --image $picture --no_mmap "what does the sign say?"
maps() { # maps PATTERN ARGUMENTS...: prints the lines of /proc/PID/maps of a chat that has answered
  pattern=$1
  shift
  rm -f "$scratch/questions"
  mkfifo "$scratch/questions"
  "$programs/chat" --model $model --image $picture "$@" <"$scratch/questions" >"$scratch/out" &
  exec 3>"$scratch/questions"
  echo "what colour is the ring?" >&3
  until grep -q "  red" "$scratch/out" || ! kill -0 $!; do sleep 0.1; done
  grep "$pattern" /proc/$!/maps
  exec 3>&-
  wait $!
}
if [ -r /proc/self/maps ]; then
  maps 'model\.safetensors' | grep -q . || fault "chat" "the weights are not mapped"
  found=$(maps 'model\.safetensors' --no-mmap)
  [ -z "$found" ] && grep -q "  red" "$scratch/out" || fault "chat --no-mmap" "$found $(cat "$scratch/out")"
fi

# Quantised weights are kept for the next start.
kept_weights() { # kept_weights WHAT TEXT-ON-STDERR FLAGS...
  what=$1 err=$2
  shift 2
  expect "$what" 0 "  it says tea" "$err" \
    vqa --model $model --image $picture --weights int8 "$@" "what does the sign say?"
}
kept_weights "no kept weights" "" --no-cache
[ ! -e "$INSTRUCTBLIP_CACHE" ] && [ ! -s "$scratch/err" ] || fault "--no-cache" "$(cat "$scratch/err")"
kept_weights "weights that are kept" \
  " MB of quantised weights for the next start in $INSTRUCTBLIP_CACHE/instructblip-demo-vision=int8,language=int8-"
kept_weights "kept weights" ""
[ ! -s "$scratch/err" ] || fault "kept weights" "$(cat "$scratch/err")"
kept_weights "timings of kept weights" "MB of quantised weights from $INSTRUCTBLIP_CACHE/" --timings
kept_weights "weights that are kept elsewhere" "MB of quantised weights written to $scratch/other/" \
  --timings --cache "$scratch/other"
kept_weights "weights that cannot be kept" "$picture/" --cache $picture
holds "$scratch/err" "is not kept for the next start" || fault "an impossible --cache" "$(cat "$scratch/err")"
kept_weights "weights that cannot be kept, quietly" "" --cache $picture --quiet
[ ! -s "$scratch/err" ] || fault "an impossible --cache with --quiet" "$(cat "$scratch/err")"
if [ -r /proc/self/maps ]; then
  maps 'language=int8' --weights int8 | grep -q . || fault "chat" "kept weights are not mapped"
fi

# Pictures from a pipe, and several for one question.
cp $picture "$scratch/in"
expect "a picture on standard input" 0 "  it says tea" "" \
  vqa --model $model --image - "what does the sign say?"
printf 'no picture' >"$scratch/in"
expect "standard input that is not a picture" 1 "" "standard input: " \
  vqa --model tests --image - "what?"
: >"$scratch/in"
expect "several views of one thing" 0 '"files":["examples/assets/scene.png","examples/assets/scene.png"]' "" \
  vqa --model $model -i $picture -i $picture --json "what colour is the ring?"
cp "$scratch/out" "$scratch/views"

# The same weights as a folder of InstructBLIP-Video: pictures are its frames.
video=$scratch/video
cp -r $model "$video"
sed -i 's/"instructblip/"instructblipvideo/; s/image_token_index/video_token_index/' "$video/config.json"
sed -i 's/image_processor"/video_processor"/' "$video/processor_config.json"
sed -i 's/<image>/<video>/' "$video/tokenizer.json"
expect "a folder of InstructBLIP-Video" 0 "no problems found" "" inspect "$video"
expect "a frame is described" 0 "a sign that says tea" "" caption --model "$video" $picture
expect "frames of one video" 0 '"files":["examples/assets/scene.png","examples/assets/scene.png"]' "" \
  vqa --model "$video" -i $picture -i $picture --json "what colour is the ring?"
cmp -s "$scratch/out" "$scratch/views" || fault "the frames' answer" "$(cat "$scratch/out")"
echo "what does the sign say?" >"$scratch/in"
expect "chat answers about frames" 0 "it says tea" "" \
  chat --model "$video" -i $picture -i $picture
: >"$scratch/in"

# Timings stand on lines of their own, whatever stdout is.
for program in vqa caption; do
  "$programs/$program" --timings -m $model -i $picture -p "what colour is the ring?" \
    --num-beams 1 >"$scratch/out" 2>&1
  for line in "^loading  .* for 7\.[0-9]* MB$" "^picture  [0-9.]* m*s$" \
    "^prompt   .* to the first token, Q-Former [0-9.]* m*s, [0-9]* tokens read$" \
    "^answer   .* for 1 step of .*s, 2 tokens, [0-9.]* tokens/s, [0-9.]* GB of weights/s$" \
    "^memory   [0-9.]* .B at most, mapped weights included$"; do
    grep -q "$line" "$scratch/out" || fault "$program --timings lacks $line" "$(cat "$scratch/out")"
  done
done
expect "features with timings" 0 "" "qformer  " \
  features --timings -m $model -i $picture --part vision -o "$scratch/vision.npy"

# Captions of folders and patterns, in batches; JSON; continuing a file.
mkdir -p "$scratch/album/deep"
for name in a.png b.PNG .hidden.png deep/c.png; do cp $picture "$scratch/album/$name"; done
echo text >"$scratch/album/notes.txt"
captions() { # captions WHAT "NAMES" ARGUMENTS...: expects descriptions of these files of the album
  what=$1 names=$2
  shift 2
  expect "$what" 0 ": a " "" caption --model $model "$@"
  found=$(sed "s|^$scratch/album/||; s|: .*||" "$scratch/out" | tr '\n' ' ')
  [ "$found" = "$names " ] || fault "$what" "$found"
}
captions "a folder" "a.png b.PNG" "$scratch/album"
captions "a folder and its folders" "a.png b.PNG deep/c.png" --recursive "$scratch/album" -b 2
captions "a pattern" "a.png b.PNG" "$scratch/album/*.[pP][nN][gG]" --batch-size 1
for name in c.jfif d.jpe; do cp $picture "$scratch/album/$name"; done
captions "all names of JPEG" "a.png b.PNG c.jfif d.jpe" "$scratch/album"
rm "$scratch/album/c.jfif" "$scratch/album/d.jpe"
cp $picture "$scratch/album/[x].png"
captions "a name that looks like a pattern" "[x].png" "$scratch/album/[x].png"
rm "$scratch/album/[x].png"

printf 'no picture' >"$scratch/album/broken.png"
lines=$scratch/lines.json
expect "captions as JSON" 1 "" "1 of 4 pictures could not be read" \
  caption --model $model --json --recursive "$scratch/album" --output "$lines"
[ "$(grep -c '"text":"a .*","tokens":[0-9]*,"score":-' "$lines")" -eq 3 ] &&
  [ "$(grep -c "\"file\":\"$scratch/album/broken.png\",\"error\":\"" "$lines")" -eq 1 ] ||
  fault "captions as JSON" "$(cat "$lines")"
# Two descriptions, one of them cut off.
head -n 2 "$lines" >"$lines.part"
printf '{"file":"%s/album/deep/c.p' "$scratch" >>"$lines.part"
expect "captions continue" 1 "" "could not be read" caption --model $model --json --recursive \
  "$scratch/album" --output "$lines.part" --resume
[ "$(grep -c '^{.*}$' "$lines.part")" -eq 5 ] && [ "$(grep -c '"text"' "$lines.part")" -eq 3 ] ||
  fault "captions continue" "$(cat "$lines.part")"
rm "$scratch/album/broken.png"
expect "captions that are complete" 0 "" "" \
  caption --model tests --json --recursive "$scratch/album" --output "$lines.part" --resume
expect "an answer as JSON" 0 '"prompt":"what colour is the ring?","text":"red","tokens":2,"probability":0.9' "" \
  vqa --model $model --image $picture --json "what colour is the ring?"
expect "beams as JSON" 0 '"text":"red","tokens":2,"score":-0.' "" \
  vqa --model $model --image $picture --json --num-beams 2 "what colour is the ring?"
expect "timings as JSON" 0 '"seconds":{"prompt":' "" \
  vqa --model $model --image $picture --json --timings "what colour is the ring?"

cp $picture "$scratch/a picture.png"
cat >"$scratch/in" <<END
what colour is the ring?
/image absent.png
/image
/imagine
/image "unbalanced
how many red objects are there?
/image "$scratch/a picture.png"
what does the sign say?
/image $scratch/a picture.png
/image ~/a*e.png $scratch/a\ picture.png
/clear
/timings
what does the sign say?
END
HOME=$scratch
export HOME
expect "chat continues after an error" 0 "two" "absent.png" chat --model $model --image $picture
holds "$scratch/err" "answer   " || fault "chat with /timings" "$(cat "$scratch/err")"
[ "$(grep -c "^error" "$scratch/err")" -eq 4 ] || fault "errors of chat" "$(cat "$scratch/err")"
printf '  red\n  two\n  it says tea\n  it says tea\n' | cmp -s - "$scratch/out" ||
  fault "chat with piped questions printed more than the answers" "$(cat "$scratch/out")"
printf '%s\n' "is there a ring?" "is there a ring?" /clear "is there a ring?" >"$scratch/in"
expect "chat with its dialogue" 0 "" "" \
  chat --model $model --image $picture --history 2 --timings
set -- $(sed -n 's/^prompt .* \([0-9]*\) tokens read$/\1/p' "$scratch/err")
[ $# -eq 3 ] && [ "$2" -gt "$1" ] && [ "$3" -eq "$1" ] ||
  fault "chat with its dialogue read" "$*"
: >"$scratch/in"

for program in vqa caption chat features inspect quantize retrieve; do
  expect "$program --help" 0 "Usage" "" $program --help
  expect "$program with a wrong flag" 2 "" "--help" $program --no-such-flag
done
export INSTRUCTBLIP_MODEL=$model
expect "the environment names the model" 0 "  red" "" vqa -i $picture -p "what colour is the ring?"
unset INSTRUCTBLIP_MODEL
expect "flags as transformers spells them" 0 "  a" "" \
  vqa -m $model -i $picture --max_new_tokens=1 "describe the image"
[ "$(wc -c <"$scratch/out")" -eq 23 ] || fault "vqa --max_new_tokens=1" "$(cat "$scratch/out")"
expect "a mistyped flag" 2 "" "unknown flag --modell; did you mean --model?" \
  vqa --modell $model --image $picture "what?"
expect "a flag cut short" 2 "" "unknown flag --max-new; did you mean --max-new-tokens?" \
  caption --model $model $picture --max-new 3
expect "a flag like no other" 2 "" "unknown flag --frobnicate" chat --frobnicate
! holds "$scratch/err" "did you mean" || fault "a flag like no other" "$(cat "$scratch/err")"
"$programs/vqa" --help | grep -m 6 '^  -' | cut -c 1-20 >"$scratch/out"
for flag in -m, -i, -p, -n, -t, -h; do
  grep -qe "$flag" "$scratch/out" || fault "vqa --help does not begin with $flag" "$(cat "$scratch/out")"
done

# Invalid flags are found before the model is loaded ("tests" is none) and before anything is
# printed; each is named.
usage() { # usage FLAG VALUE...
  flag=$1
  expect "vqa $*" 2 "" "$flag" vqa --model tests --image $picture "what?" "$@"
  [ ! -s "$scratch/out" ] || fault "vqa $* printed" "$(cat "$scratch/out")"
}
usage --max-new-tokens -5
usage --max-new-tokens 0
usage --max-length -1
usage --min-new-tokens -1
usage --num-beams 0
usage --num-return-sequences 3
usage --num-return-sequences 3 --num-beams 2
usage --temperature 0 --do-sample
usage --top-k -1 --do-sample
usage --top-p -1 --do-sample
usage --min-p 2 --do-sample
usage --top-h 0 --do-sample
usage --typical-p -1 --do-sample
usage --repetition-penalty 0
usage --suppress-tokens 4 --forced-bos-token-id 4
usage --bad-words-ids -1
usage --sequence-bias -1=2
usage --early-stopping maybe
usage --max-length 0
usage --max-new-tokens 99999999999999999999
usage --seed -1
usage --seed 99999999999999999999999
usage --bad-words-ids 99999999999999999999
usage --exponential-decay-length-penalty nan,2
for flag in --timings=5 "--do-sample true" --do_sample=False "--json True"; do
  expect "vqa $flag" 2 "" "takes no value" vqa --model tests --image $picture "what?" $flag
done
expect "a negative history" 2 "" "--history" chat --model tests --history -1
expect "Python's spelling of true" 0 "  red" "" vqa --model $model --image $picture \
  --num_beams 2 --early_stopping True "what colour is the ring?"
for flag in temperature top-p min-p top-h typical-p epsilon-cutoff eta-cutoff length-penalty \
  repetition-penalty max-time; do
  usage --$flag nan
done
usage --length-penalty inf
usage --sequence-bias 4=nan
usage --exponential-decay-length-penalty 3,inf
usage --stop-strings "$(printf 'a\377')"
# Ids outside the vocabulary are found before the weights are read: this folder has none.
mkdir "$scratch/no_weights"
cp $model/*.json "$scratch/no_weights"
for flag in --bad-words-ids=99999 --sequence-bias=99999=2 --forced-bos-token-id=-1 \
  --forced-eos-token-id=99999 --bos-token-id=-1 --decoder-start-token-id=-1; do
  for program in vqa caption chat; do
    expect "$program $flag" 2 "" "${flag%%=*} has to be made of ids of the vocabulary" \
      $program --model "$scratch/no_weights" --image $picture "$flag" $([ $program = vqa ] && echo what)
  done
done
expect "a negative number of tokens" 2 "" "--max-new-tokens: -5 is below 0" \
  vqa --model tests --image $picture --max-new-tokens -5 "what?"
no_text=$(printf 'caf\351')
expect "a question that is not UTF-8" 2 "" "UTF-8" vqa --model tests --image $picture "$no_text"
expect "an instruction that is not UTF-8" 2 "" "UTF-8" \
  caption --model tests --prompt "$no_text" $picture
expect "an instruction of features that is not UTF-8" 2 "" "UTF-8" \
  features --model tests --image $picture -o "$scratch/all.safetensors" --prompt "$no_text"
expect "caption without its picture" 1 "" "absent.png: there is no such file" \
  caption --model tests $picture absent.png
for variable in INSTRUCTBLIP_NUM_THREADS INSTRUCTBLIP_KERNELS; do
  export $variable=2x
  expect "an invalid $variable" 1 "" "$variable" vqa --model tests --image absent.png "what?"
  unset $variable
done
usage --threads 0
usage --dtype int8
expect "features of an unknown kind of file" 2 "" "--output" \
  features --model tests --image $picture --output "$scratch/queries.txt"
expect "a part of features for .npy" 2 "" "--part" \
  features --model tests --image $picture --output "$scratch/queries.npy"
expect "features to a folder that is absent" 1 "" "absent/queries.npy: cannot be written" \
  features --model tests --image $picture --part vision --output "$scratch/absent/queries.npy"
expect "captions to a folder that is absent" 1 "" "absent/out: cannot be written" \
  caption --model tests $picture --output "$scratch/absent/out"
echo kept >"$scratch/kept"
expect "captions without a model" 1 "" "error: " \
  caption --model tests $picture --output "$scratch/kept"
holds "$scratch/kept" kept || fault "captions without a model" "the output file was emptied"
expect "resume without a file" 2 "" "--resume" caption --model tests $picture --resume
expect "chat with a picture on its standard input" 2 "" "--image" chat --model tests --image -
expect "a pattern without a match" 1 "" "no file matches" caption --model tests "absent/*.png"
expect "a folder without pictures" 1 "" "no picture in this folder" caption --model tests cmake
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
