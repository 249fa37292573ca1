#!/usr/bin/env bash
# Curation as a user meets it: sources, exclusions, a set, its check, Python that reads it, every kind of failure, kill -9 and resume.
# Usage: curate.sh STAGE
set -uo pipefail
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
meddino=$stage/bin/meddino
export PYTHONDONTWRITEBYTECODE=1
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

mkdir -p src lits kits/dataset/case_00003
for seed in 1 2 3; do "$meddino" phantom src/v$seed.nii.gz --single --size 48,48,10 --seed $seed --quiet; done
"$meddino" phantom lits/volume-0.nii --single --labels lits/segmentation-0.nii --size 48,48,6 --seed 7 --quiet
cp src/v2.nii.gz kits/dataset/case_00003/imaging.nii.gz
cp src/v2.nii.gz kits/dataset/case_00003/segmentation.nii.gz

check "list of sources" 0 "$meddino" curate --list-sources
holds "all seventeen" test "$(grep -c '^[a-z].*licence' out.txt)" = 17
check "list of sources as JSON" 0 "$meddino" curate --list-sources --json
holds "with the layouts" grep -q '"BDMAP_' <(sed 's,\*\*/,,g' out.txt)
check "curate" 0 "$meddino" curate src set --size 32 --shard-slices 8 --licence "CC BY 4.0"
holds "slices per second are told" grep -q 'slices per second' out.txt
holds "no progress without a terminal" test ! -s err.txt
holds "the licence is kept" grep -q '"licence": "CC BY 4.0"' set/src/set.json
holds "a summary for people" grep -q '30 kept of 30' set/src/summary.txt
check "curate again" 0 "$meddino" curate src set --size 32 --shard-slices 8 --licence "CC BY 4.0" --json
holds "nothing is made twice" grep -q '"seen_slices": 0' out.txt
check "another source, by the catalogue" 0 "$meddino" curate kits set --source kits --size 32 --shard-slices 8
holds "known slices are duplicates" grep -q '0 slices of 1 volumes' out.txt
holds "fewer volumes than published are noted or unknown" test ! -s err.txt
check "labels are no images" 0 "$meddino" curate lits set --source lits --size 32 --shard-slices 8
holds "one volume" grep -q '6 slices of 1 volumes' out.txt
holds "the published number is noted" grep -q 'published with 201' err.txt
check "check" 0 "$meddino" curate --check set
holds "it is whole" grep -q 'no problems' out.txt
holds "and fast or slow" grep -q 'slices per second in order' out.txt
check "check as JSON" 0 "$meddino" curate --check set --json --threads 1
holds "with a rate" grep -q '"slices_per_second"' out.txt
check "Python reads the shards" 0 python3 "$here/read_shards.py" set --expect-slices 36
check "one thread" 0 "$meddino" curate src alone --size 32 --shard-slices 8 --licence "CC BY 4.0" --threads 1 --jobs 1
holds "the same bytes" diff -r set/src alone/src

printf 'v1  # the test case\n\nother/v3\nv9\n' >exclude.txt
check "exclude names" 0 "$meddino" curate src excluded --size 32 --exclude exclude.txt
holds "one stays out" grep -q '20 slices of 2 volumes' out.txt
holds "a name that nobody has is told" grep -q 'v9' err.txt
check "exclude images" 0 "$meddino" curate src leakless --size 32 --exclude-images kits/dataset/case_00003/imaging.nii.gz
holds "their slices stay out" grep -q '10 of images kept out' out.txt
check "the paper's spacing without a size" 0 "$meddino" curate src native --spacing 0.9 --size keep --name all --clip=-200,300 --step 2.5
check "check slices of many sizes" 0 "$meddino" curate --check native --quiet
check "crop" 0 "$meddino" curate src cropped --spacing keep --size 40 --fit crop --quiet

check "no arguments" 64 "$meddino" curate
check "one argument" 64 "$meddino" curate src
check "unknown source" 2 "$meddino" curate src x --source kitz
holds "known sources are named" grep -q 'abdomenatlas' err.txt
check "not the layout of the source" 2 "$meddino" curate src x --source kits
holds "the layout is named" grep -q 'case_\*/imaging' err.txt
check "missing folder" 2 "$meddino" curate nowhere x
check "two folders of one name" 2 "$meddino" curate src src x
for bad in "--size 7" "--size big" "--spacing 0" "--spacing x" "--fit stretch" "--clip 5" "--clip 5,5" "--body 2" "--step=-1" "--tilt 91" \
  "--shard-slices 0" "--jobs 999" "--name a/b" "--exclude none.txt" "--exclude-images none" "--skip-damaged" "--list-sources" "--check"; do
  check "bad $bad" 2 "$meddino" curate src x $bad
  holds "one line for $bad" test "$(wc -l <err.txt)" = 1
done
holds "refused arguments leave nothing" test ! -e x
check "too little memory" 3 "$meddino" curate src x --max-memory 10K
check "other rules for a part that is there" 1 "$meddino" curate src set --size 64 --shard-slices 8 --licence "CC BY 4.0"
holds "the rule is named" grep -q 'size was 32, is 64' err.txt
echo "no volume" >src/bad.nii.gz
check "a bad volume" 2 "$meddino" curate src x --size 32 --name bad
holds "it is named" grep -q 'bad.nii.gz' err.txt
check "an unfinished part is no set" 2 "$meddino" curate --check x
holds "it says so" grep -q 'not finished' err.txt
check "a bad volume left out" 0 "$meddino" curate src x --size 32 --name rest --skip-bad
holds "it is named and left out" grep -q 'bad is left out' err.txt
mkdir onlybad
echo no volume >onlybad/a.nii.gz
check "nothing but a bad volume" 0 "$meddino" curate onlybad y --size 32 --skip-bad
holds "is not said to be complete already" test "$(grep -c 'complete already' out.txt)" = 0
rm src/bad.nii.gz

cp -r set hurt
truncate -s 1000 hurt/src/src-000001.tar
check "check a cut shard" 2 "$meddino" curate --check hurt
holds "the shard is named" grep -q 'src-000001.tar: 1000 bytes' err.txt
check "pass over a cut shard" 0 "$meddino" curate --check hurt --skip-damaged
holds "it is named all the same" grep -q 'src-000001.tar: 1000 bytes' err.txt
rm hurt/src/src-000001.tar
check "check a missing shard" 2 "$meddino" curate --check hurt
holds "the missing shard is named" grep -q 'src-000001.tar' err.txt
check "make the missing shard again" 0 "$meddino" curate src hurt --size 32 --shard-slices 8 --licence "CC BY 4.0"
holds "it is told" grep -q 'made again' err.txt
holds "the same bytes again" diff -r set/src hurt/src
cp -r set hurt2
printf '\377' | dd of=hurt2/src/src-000000.tar bs=1 seek=900 conv=notrunc status=none
check "check a changed byte" 2 "$meddino" curate --check hurt2
holds "the slice is named" grep -q 'src-000000.tar, slice 0: the check sum' err.txt

cat >tiny.json <<'END'
{
  "student": {"embed_dim": 16, "depth": 1, "num_heads": 2},
  "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
  "ibot": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
  "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
  "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 1}}
}
END
tiny=(--preset tiny --config tiny.json --batch-size 2 --epochs 1 --epoch-length 4)
check "pretrain on the set" 0 "$meddino" pretrain set "${tiny[@]}" -o run
holds "its slices are counted" grep -q '36 slices of the set set' err.txt
holds "it ends with a backbone" test -s run/eval/training_4/backbone.safetensors
check "pretrain on a damaged set" 2 "$meddino" pretrain hurt2 "${tiny[@]}" -o run2 --epoch-length 40
holds "the slice is named there too" grep -q 'src-000000.tar, slice 0' err.txt
check "pretrain past the damage" 0 "$meddino" pretrain hurt2 "${tiny[@]}" -o run3 --epoch-length 40 --skip-damaged
holds "and told what is passed over" grep -q 'warning: slice .* is passed over' err.txt
cp -r set lacking
rm lacking/src/src-000001.tar
check "pretrain without a shard" 2 "$meddino" pretrain lacking "${tiny[@]}" -o run5
holds "the shard is named" grep -q 'src-000001.tar' err.txt
check "pretrain past the missing shard" 0 "$meddino" pretrain lacking "${tiny[@]}" -o run6 --skip-damaged
holds "and told which is left out" grep -q 'warning: .*src-000001.tar' err.txt
check "pretrain on an unfinished set" 1 "$meddino" pretrain x "${tiny[@]}" -o run4

timeout -s INT 0.4 "$meddino" curate src stopped --size 512 --shard-slices 4 >out.txt 2>err.txt
code=$?
check "after Ctrl-C" 0 "$meddino" curate src stopped --size 512 --shard-slices 4 --quiet
holds "Ctrl-C ends the run" test $code = 124 -o $code = 0
check "check what was stopped" 0 "$meddino" curate --check stopped --quiet
check "killed and started again" 0 python3 "$here/kill_curation.py" "$meddino" --kills 12
cat out.txt
holds "no temporary files remain" test -z "$(find . -name '*tmp-*' -not -path './x/bad/*')"
echo "curation: $passed passed, $failed failed"
[ "$failed" = 0 ]
