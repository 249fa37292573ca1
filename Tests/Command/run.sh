#!/usr/bin/env bash
# The command line as a user meets it: a phantom, a model, its labels, and every kind of failure with its exit code.
# Usage: run.sh STAGE
set -uo pipefail
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/../.." && pwd)
meddino=$stage/bin/meddino
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

check "phantom" 0 "$meddino" phantom ct.nii.gz --single --labels truth.nii.gz --size 96,96,4 --seed 3
check "init" 0 "$meddino" init --config "$here/Tests/Command/small-model.json" -o m.safetensors
check "info" 0 "$meddino" info m.safetensors --verify --json
holds "info is JSON with labels" grep -q '"liver"' out.txt
holds "and says that it is verified" grep -q '"verified": true' out.txt
check "init without a file" 64 "$meddino" init --config "$here/Tests/Command/small-model.json"
holds "the option is named" grep -q "Missing expected argument '--output" err.txt
check "segment" 0 "$meddino" segment m.safetensors ct.nii.gz -o labels.nii.gz --preview sheet.png --json
holds "segment reports labels" grep -q '"millilitres"' out.txt
holds "segment is quiet" test ! -s err.txt
holds "preview is a PNG" test "$(head -c 4 sheet.png | tail -c 3)" = PNG
check "a page for people" 0 "$meddino" segment m.safetensors ct.nii.gz -o paged.nii.gz --report page.html --quiet
holds "the page changes no label" cmp -s labels.nii.gz paged.nii.gz
holds "the page stands alone" test "$(grep -cE '(src|href)="[^d]|https?://|<script' page.html)" = 0
holds "its pictures are described" grep -q '<img alt="Axial slice at z = .*src="data:image/png;base64,iVBORw0KGgo' page.html
holds "it has the other views" grep -q '<img alt="Sagittal slice' page.html
holds "it says what it is not for" grep -q 'Not for diagnostic use' page.html
holds "it has the model's licence" grep -q '<th scope="row">Licence</th><td>CC0-1.0</td>' page.html
holds "random weights are a warning" grep -q '<li>the model&#39;s weights are random' page.html
check "a page of a region, of two labels" 0 "$meddino" segment m.safetensors ct.nii.gz -o part.nii.gz --roi 10,60,20,70,1,3 --labels 1,2 \
  --report part.html
holds "the region is named" grep -q 'x 10 to 59, y 20 to 69, z 1 to 2' part.html
holds "what was asked for has rows" grep -q '</i>spleen' part.html
holds "the rest has none" test "$(grep -c '</i>aorta' part.html)" = 0
check "a page of another kind" 2 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --report page.pdf
holds "its ending is named" grep -q -e '--report is "page.pdf", expected a name ending in .html' err.txt
check "a page into nowhere" 2 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --report nowhere/page.html
check "one thread gives the same" 0 "$meddino" segment m.safetensors ct.nii.gz -o labels1.nii.gz --threads 1 --quiet
holds "same bytes with 1 and 2 threads" cmp -s labels.nii.gz labels1.nii.gz
check "fast" 0 "$meddino" segment m.safetensors ct.nii.gz -o fast.nii.gz --fast
holds "fast says so" grep -q '^fast:' err.txt
check "region of interest" 0 "$meddino" segment m.safetensors ct.nii.gz -o roi.nii.gz --roi 10,60,20,70,1,3 --labels 1,2
check "labels by name" 0 "$meddino" segment m.safetensors ct.nii.gz -o named.nii.gz --roi 10,60,20,70,1,3 --labels liver,2
holds "the same as by value" cmp -s roi.nii.gz named.nii.gz
check "a label that is not there" 2 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --labels liver,lung
holds "the labels are listed" grep -q '"lung", expected labels of the model: 1 liver, 2' err.txt
check "the input as output" 2 "$meddino" segment m.safetensors ct.nii.gz -o ct.nii.gz
holds "it is said to be the input" grep -q 'which is an input' err.txt
check "the input in other words" 2 "$meddino" segment m.safetensors ct.nii.gz -o ./ct.nii.gz
ln -s ct.nii.gz link.nii.gz
check "a link to the input" 2 "$meddino" segment m.safetensors ct.nii.gz -o link.nii.gz
check "the model as output" 2 "$meddino" features m.safetensors ct.nii.gz -o ./m.safetensors
check "one file for two outputs" 2 "$meddino" phantom --single --size 32,32,2 --labels ./twice.nii.gz twice.nii.gz
holds "nothing is lost" test -s ct.nii.gz -a -s m.safetensors -a ! -e twice.nii.gz
mkfifo pipe.nii
check "a named pipe" 2 timeout 20 "$meddino" segment m.safetensors pipe.nii -o x.nii.gz
holds "it is no file" grep -q 'not a regular file' err.txt
if [ -c /dev/full ]; then
  "$meddino" info m.safetensors >/dev/full 2>err.txt
  holds "a full disk behind standard output" test $? = 2
  holds "it is named" grep -q '^meddino: standard output: ' err.txt
fi
check "long names of precisions" 0 "$meddino" convert m.safetensors -o long.safetensors --precision bfloat16 --quiet
check "probabilities" 0 "$meddino" segment m.safetensors ct.nii.gz -o p.nii --probabilities prob.nii --no-mirror --step 1
check "the same labels compressed" 0 "$meddino" segment m.safetensors ct.nii.gz -o p.nii.gz --no-mirror --step 1 --quiet
holds "probabilities have a channel per label" test "$(stat -c %s prob.nii)" = $((352 + 96 * 96 * 4 * 9 * 4))
check "convert to bf16" 0 "$meddino" convert m.safetensors -o half.safetensors --precision bf16
holds "half the size" test "$(stat -c %s half.safetensors)" -lt $(($(stat -c %s m.safetensors) * 6 / 10))
check "ensemble" 0 "$meddino" convert m.safetensors half.safetensors -o two.safetensors
check "segment with an ensemble" 0 "$meddino" segment two.safetensors ct.nii.gz -o two.nii.gz --no-mirror --quiet
check "features" 0 "$meddino" features m.safetensors ct.nii.gz -o f.safetensors --pca pca.png --slices 1,3 --blocks 1,3 --size 96,64
check "dataset" 0 "$meddino" phantom data --cases 2 --test-cases 1 --organs 3
holds "dataset layout" test -f data/Dataset900_Phantom/imagesTr/phantom_000_0000.nii.gz
mkdir -p kits/dataset/case_00000 kits/dataset/case_00401
for case in case_00000 case_00401; do
  cp ct.nii.gz kits/dataset/$case/imaging.nii.gz
  cp truth.nii.gz kits/dataset/$case/segmentation.nii.gz
done
kits=raw/Dataset220_KiTS2023
check "benchmark dataset" 0 "$meddino" dataset kits23 kits raw
holds "benchmark layout" cmp -s ct.nii.gz $kits/imagesTr/case_00401_0000.nii.gz
holds "benchmark regions" grep -q '"regions_class_order"' $kits/dataset.json
holds "leak note" grep -q 'CT-3M' $kits/leak-note.md
holds "fewer cases than published are noted" grep -q 'published with 489' err.txt
check "benchmark dataset again" 0 "$meddino" dataset kits23 kits raw --link --json --quiet
holds "complete files are kept" grep -q '"kept": 4' out.txt
holds "quiet is quiet" test ! -s err.txt
rm kits/dataset/case_00401/segmentation.nii.gz
check "benchmark with a missing label" 2 "$meddino" dataset kits23 kits raw
holds "the missing file is named" grep -q 'case_00401/segmentation.nii.gz' err.txt
check "unknown benchmark" 2 "$meddino" dataset amos kits raw
check "dataset to plan" 0 "$meddino" phantom raw --cases 5 --test-cases 0 --organs 3 --size 48,48,4
check "verify only" 0 "$meddino" plan raw/Dataset900_Phantom --verify-only
check "verify only, quietly" 0 "$meddino" plan raw/Dataset900_Phantom --verify-only --quiet
holds "the result is printed" grep -q '5 cases, no problems' out.txt
check "plan without a target" 64 env -u nnUNet_preprocessed "$meddino" plan raw/Dataset900_Phantom
holds "verify only writes nothing" test ! -e pre
check "plan" 0 "$meddino" plan raw/Dataset900_Phantom -o pre --upscale 64
holds "plan leaves the folder" test -f pre/Dataset900_Phantom/nnUNetPlans_2d_64/phantom_004.safetensors
holds "plans name the upscaled configuration" grep -q '"2d_64"' pre/Dataset900_Phantom/nnUNetPlans.json
check "plan again, by number" 0 env nnUNet_raw=raw nnUNet_preprocessed=pre "$meddino" plan 900 --upscale 64 --json
holds "nothing is made twice" grep -q '"kept": 5' out.txt
# Training: two folds, whole volumes, cross-validation.
tiny='{"encoder": {"patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3, "n_storage_tokens": 1, "layerscale_init": 0.5},
  "taps": [0, 1], "epochs": 2, "iterations": 2, "validation_iterations": 1, "batch_size": 2, "save_every": 1, "decoder_lr": 0.003}'
echo "$tiny" >tiny.json
set=pre/Dataset900_Phantom
check "settings without a dataset" 0 "$meddino" finetune --print-config
holds "settings are JSON" grep -q '"decoder_lr"' out.txt
check "no dataset" 64 "$meddino" finetune -o nothing
check "no output" 64 "$meddino" finetune $set --config tiny.json
check "a number without a folder to look in" 2 env -u nnUNet_preprocessed "$meddino" finetune 900 --config tiny.json -o no
holds "the variable is named" grep -q 'nnUNet_preprocessed is not set' err.txt
check "folds of no start model" 2 "$meddino" finetune $set --config tiny.json -o no --folds 0
holds "they need a start model" grep -q -- '--folds has an effect only together with --backbone' err.txt
check "more blocks than there are" 2 "$meddino" finetune --config tiny.json --adapt last:5 --print-config
holds "their option is named" grep -q -- '--adapt last:BLOCKS is 5, expected 1 to' err.txt
check "finetune" 0 "$meddino" finetune $set --config tiny.json -o run0 --json --quiet
holds "finetune validates whole volumes" grep -q '"validation":.*"model":"model_best.safetensors"' <(tr -d ' ' <out.txt)
holds "a fifth of the cases" test "$(ls run0/validation/*.nii.gz | wc -l)" = 1
holds "validation has nnU-Net's summary" grep -q '^    "metric_per_case": \[' run0/validation/summary.json
holds "validation has MedDINOv3's table" grep -q '^filename,dice_class1' run0/validation/metrics.csv
cp run0/validation/summary.json before.json
check "validate again, one thread" 0 "$meddino" finetune $set -o run0 --validate-only --threads 1
holds "validation gives the same" cmp -s before.json run0/validation/summary.json
check "validate the final model" 0 "$meddino" finetune $set -o run0 --validate-only --validate-model final --raw raw/Dataset900_Phantom
holds "its model is named" grep -q 'model_final' run0/validation/validation.json
check "a run as a model" 2 "$meddino" segment run0 ct.nii.gz -o x.nii.gz
holds "its models are named" grep -q 'model_best.safetensors.*name one of them' err.txt
holds "its checkpoint is no model" test -z "$(grep checkpoint_ err.txt)"
check "a training checkpoint as a model" 2 "$meddino" segment run0/checkpoint_latest.safetensors ct.nii.gz -o x.nii.gz
holds "the models beside it are named" grep -q 'a training checkpoint: open model_best.safetensors or model_final' err.txt
check "a fold beyond the splits" 0 "$meddino" finetune $set --config tiny.json -o beyond --fold 9 --no-validation --json
holds "every line of its output is JSON" json_lines out.txt
holds "it is said that the split is drawn" grep -q 'fold 9 is none of the 5' err.txt
check "a run is not overwritten" 2 "$meddino" finetune $set --config tiny.json -o run0
check "a finished run resumes to nothing" 0 "$meddino" finetune $set -o run0 --resume --no-validation --quiet
check "resume before the first checkpoint" 0 "$meddino" finetune $set --config tiny.json -o fresh --resume --no-validation
holds "it says so" grep -q 'starts from the beginning' err.txt
holds "it is the same run" cmp -s run0/model_final.safetensors fresh/model_final.safetensors
check "raw images elsewhere" 2 "$meddino" finetune $set --config tiny.json -o lost --raw nowhere
holds "--raw is named" grep -q 'nowhere: no such folder.*--raw' err.txt
check "cross-validation lacks folds" 2 "$meddino" crossval run0 -o cv
holds "it names a case" grep -q 'case phantom_00. and 3 more .* no run has validated it' err.txt
check "two of five folds" 0 "$meddino" finetune $set --config tiny.json -o run1 --fold 1 --quiet
check "a finished fold 1 resumes to nothing" 0 "$meddino" finetune $set -o run1 --resume --no-validation
holds "its fold is named" grep -q ', fold 1$' err.txt
check "validate the best model" 0 "$meddino" finetune $set -o run0 --validate-only --quiet
check "cross-validation of two folds" 0 "$meddino" crossval run0 run1 -o cv --partial --ensemble both.safetensors --json
holds "all label maps are gathered" test "$(ls cv/*.nii.gz | wc -l)" = 2
holds "cross-validation searches postprocessing" test -s cv/postprocessing.json -a -s cv/postprocessed/summary.json
check "the ensemble" 0 "$meddino" info both.safetensors --verify --json
holds "it has two members" grep -q '"members": 2' out.txt
check "cross-validation into a run" 2 "$meddino" crossval run0 run1 -o run0/ --partial
holds "it is said to be a run" grep -q 'the folder of a run' err.txt
check "one fold twice" 2 "$meddino" crossval run0 run0 -o cv2 --partial
check "cross-validation, quietly" 0 "$meddino" crossval run0 run1 -o cv --partial --quiet
holds "its means are printed" grep -q 'mean Dice' out.txt
check "decoder on kept features" 0 "$meddino" finetune $set --config tiny.json -o kept --adapt decoder --no-augmentation --feature-cache 16M --no-validation
check "decoder on fresh features" 0 "$meddino" finetune $set --config tiny.json -o plain --adapt decoder --no-augmentation --no-validation
holds "kept features change no bit" cmp -s kept/model_final.safetensors plain/model_final.safetensors
check "kept features with augmentation" 2 "$meddino" finetune $set --config tiny.json -o no --adapt decoder --feature-cache 16M
holds "augmentation is named" grep -q 'augmented images never come again' err.txt
sed 's/"epochs": 2, "iterations": 2/"epochs": 4, "iterations": 40/; s/"save_every": 1/"save_every": 100/' tiny.json >longer.json
check "a longer run" 0 "$meddino" finetune $set --config longer.json -o straight --no-validation --quiet
"$meddino" finetune $set --config longer.json -o stopped --no-validation >out.txt 2>err.txt &
run=$!
for _ in $(seq 1 6000); do [ -s stopped/metrics.jsonl ] && break || sleep 0.01; done
kill -INT $run
wait $run
holds "Ctrl-C ends the training" test $? = 130
holds "Ctrl-C keeps what was learned" grep -q 'stopped after [0-9]* updates; --resume goes on' err.txt
check "resume amid an epoch" 0 "$meddino" finetune $set -o stopped --resume --no-validation --quiet
holds "it ends with the same bytes" cmp -s straight/model_final.safetensors stopped/model_final.safetensors
check "killed and resumed" 0 env PYTHONDONTWRITEBYTECODE=1 python3 "$here/Tests/Long/kill.py" "$meddino" --kills 5
check "a finished run with other settings" 0 "$meddino" finetune $set -o run0 --resume --epochs 3 --no-validation
holds "what is not used is named" grep -q 'not used: epochs 3 (the run has 2)' err.txt
holds "the end is named, and what to do" grep -q 'run0 is finished after 2 epochs.*--backbone run0/model_final.safetensors' err.txt
check "a finished run with its own settings" 0 "$meddino" finetune $set --config tiny.json -o run0 --resume --no-validation
holds "nothing is said of settings" test -z "$(grep 'not used' err.txt)"
# Two configurations: a run keeps its own.
check "a second configuration" 0 "$meddino" plan raw/Dataset900_Phantom -o pre --upscale 64 --configuration 2d --configuration 2d_64
check "a configuration must be named" 2 "$meddino" finetune $set --config tiny.json -o no
holds "by its option" grep -q -- '--configuration is not given, expected .*: 2d, 2d_64' err.txt
check "a run that goes on knows its own" 0 "$meddino" finetune $set -o run0 --resume --no-validation
check "a run that is validated knows its own" 0 "$meddino" finetune $set -o run0 --validate-only --quiet
holds "it is that of the run" grep -q '"configuration": "2d_64"' run0/validation/validation.json
for way in --resume --validate-only; do
  check "another configuration with $way" 2 "$meddino" finetune $set -o run0 $way --configuration 2d
  holds "both are named" grep -q -- '--configuration is "2d", the run in run0 has "2d_64"' err.txt
done
rm raw/Dataset900_Phantom/labelsTr/phantom_003.nii.gz
check "bad dataset" 2 "$meddino" plan raw/Dataset900_Phantom -o bad
holds "bad dataset is named" grep -q 'case phantom_003: label file .* is missing' err.txt
holds "bad dataset leaves nothing" test ! -e bad
check "bad upscale" 2 "$meddino" plan raw/Dataset900_Phantom -o bad --upscale 100
check "no dataset" 2 env -u nnUNet_raw "$meddino" plan 900 -o bad
holds "its variable is named" grep -q 'nnUNet_raw is not set' err.txt
check "too many organs" 2 "$meddino" phantom x --organs 9
holds "their option is named" grep -q -- '--organs is 9' err.txt
# Evaluation: references against themselves and against other label maps.
truth=data/Dataset900_Phantom
mkdir same other
cp "$truth"/labelsTr/*.nii.gz same/
cp same/phantom_000.nii.gz other/phantom_000.nii.gz
cp same/phantom_001.nii.gz other/phantom_001.nii.gz
check "evaluate equal folders" 0 "$meddino" evaluate same "$truth/labelsTr" --labels "$truth/dataset.json" --summary s.json --csv m.csv \
  --report r.html --images "$truth/imagesTr" --jobs 2 --json
holds "equal folders have Dice 1" grep -q '"Dice": 1.0' out.txt
holds "summary has nnU-Net's keys" grep -q '^    "metric_per_case": \[' s.json
holds "CSV has MedDINOv3's columns" grep -q '^filename,dice_class1,hd95_class1,nsd_class1,dice_class2' m.csv
holds "CSV ends with mean and std" test "$(tail -2 m.csv | cut -d, -f1 | tr '\n' ' ')" = "mean std "
holds "the report stands alone" test "$(grep -cE '(src|href)="[^d]|https?://' r.html)" = 0
holds "the report has pictures" grep -q 'src="data:image/png;base64,iVBORw0KGgo' r.html
check "evaluate twice" 0 "$meddino" evaluate same "$truth/labelsTr" --labels "$truth/dataset.json" --summary s1.json --csv m1.csv --threads 1
holds "same table whatever the threads" cmp -s m.csv m1.csv
holds "same summary whatever the threads" cmp -s s.json s1.json
check "evaluate two files" 0 "$meddino" evaluate labels.nii.gz truth.nii.gz --csv one.csv --nsd-tolerance 2
holds "two files make one row" test "$(wc -l <one.csv)" = 4
check "an image instead of labels" 2 "$meddino" evaluate ct.nii.gz truth.nii.gz
holds "it is asked for label maps" grep -q 'different values from .*, expected label maps' err.txt
check "overlap only" 0 "$meddino" evaluate labels.nii.gz truth.nii.gz --no-surfaces
rm other/phantom_001.nii.gz
check "a missing prediction" 2 "$meddino" evaluate other "$truth/labelsTr"
holds "it is named" grep -q 'phantom_001' err.txt
check "a missing prediction left out" 0 "$meddino" evaluate other "$truth/labelsTr" --partial
mkdir rest
cp same/phantom_001.nii.gz rest/
check "folds evaluated jointly" 0 "$meddino" evaluate other "$truth/labelsTr" --also rest --labels "$truth/dataset.json" --csv joint.csv
holds "joint folds equal one folder" cmp -s m.csv joint.csv
cp same/phantom_000.nii.gz rest/
check "one case in two folds" 2 "$meddino" evaluate other "$truth/labelsTr" --also rest
cp truth.nii.gz other/phantom_001.nii.gz
check "another grid" 2 "$meddino" evaluate other "$truth/labelsTr"
holds "its case is named" grep -q 'case phantom_001.nii.gz: the prediction has dims' err.txt
echo '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 2, "file_ending": ".nii.gz"}' >few.json
check "unknown labels" 2 "$meddino" evaluate same "$truth/labelsTr" --labels few.json
holds "unknown labels are named" grep -q 'case phantom_00.*unknown label' err.txt
mkdir extra
cp same/*.nii.gz extra/
cp truth.nii.gz extra/phantom_777.nii.gz
check "a missing reference" 2 "$meddino" evaluate extra "$truth/labelsTr"
holds "the case without reference is named" grep -q 'phantom_777' err.txt
check "a folder and a file" 2 "$meddino" evaluate same truth.nii.gz
check "bad tolerance" 2 "$meddino" evaluate same "$truth/labelsTr" --nsd-tolerance=-1
check "report into nowhere" 2 "$meddino" evaluate same "$truth/labelsTr" --report nowhere/r.html
check "evaluate with little memory" 3 "$meddino" evaluate same "$truth/labelsTr" --max-memory 10K
holds "the option of the limit is named" grep -q -- '(--max-memory)' err.txt
check "evaluate quietly" 0 "$meddino" evaluate same "$truth/labelsTr" --quiet
holds "the table is printed" grep -q '^mean ' out.txt
check "a dataset of all organs" 0 "$meddino" phantom full --cases 1 --test-cases 0 --size 32,32,4
full=full/Dataset900_Phantom/dataset.json
check "labels that are nowhere, as JSON" 0 "$meddino" evaluate labels.nii.gz truth.nii.gz --labels "$full" --json
holds "undefined numbers are null" grep -q '"mean": null' out.txt
holds "and never NaN" test -z "$(grep NaN out.txt)"
check "ensemble of probabilities" 0 "$meddino" ensemble prob.nii prob.nii -o joined.nii.gz --labels "$full"
holds "an ensemble of one model is that model" cmp -s joined.nii.gz p.nii.gz
check "an ensemble of another task" 2 "$meddino" ensemble prob.nii prob.nii -o x.nii.gz --labels "$truth/dataset.json"
check "an ensemble of another grid" 2 "$meddino" ensemble prob.nii ct.nii.gz -o x.nii.gz --labels "$full"
check "determine" 0 "$meddino" postprocess determine same "$truth/labelsTr" --labels "$truth/dataset.json" -o pp --quiet
holds "nothing helps equal folders" grep -q 'nothing helps' out.txt
holds "determine writes nnU-Net's file" grep -q '"postprocessing_fns": \[\]' pp/postprocessing.json
holds "determine writes the folder" cmp -s pp/postprocessed/summary.json <(sed 's,"same/,"pp/postprocessed/,' s.json)
check "determine without labels" 64 "$meddino" postprocess determine same "$truth/labelsTr" -o pp
holds "its help says that they are needed" test -z "$("$meddino" help postprocess determine | tr -s ' \n' ' ' | grep 'without it every value')"
name=remove_all_but_largest_component_from_segmentation
echo "{\"postprocessing_fns\": [\"$name\"], \"postprocessing_kwargs\": [{\"labels_or_regions\": [1, 2]}]}" >pp.json
check "apply" 0 "$meddino" postprocess apply pp.json labels.nii.gz -o applied.nii.gz
check "apply to a folder" 0 "$meddino" postprocess apply pp.json same -o applied
holds "apply writes all files" test -s applied/phantom_001.nii.gz
check "carry postprocessing" 0 "$meddino" convert m.safetensors -o carrying.safetensors --postprocessing pp.json
check "info in words" 0 "$meddino" info carrying.safetensors --verify
holds "it is verified" grep -q '^the weights match their SHA-256$' out.txt
holds "the steps are words" grep -q '^postprocessing  largest component of 1, 2$' out.txt
check "segment and postprocess" 0 "$meddino" segment carrying.safetensors ct.nii.gz -o carried.nii.gz --postprocess --quiet
holds "the same as applied afterwards" cmp -s carried.nii.gz applied.nii.gz
check "without being asked nothing is applied" 0 "$meddino" segment carrying.safetensors ct.nii.gz -o plain.nii.gz --quiet
holds "the plain labels" cmp -s plain.nii.gz labels.nii.gz
check "nothing to apply" 1 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --postprocess
sed 's/remove_all/keep_all/' pp.json >unknown.json
check "unknown postprocessing" 2 "$meddino" postprocess apply unknown.json labels.nii.gz -o x.nii.gz
sed 's/\[1, 2\]/99/' pp.json >others.json
check "a postprocessing for other labels" 2 "$meddino" convert m.safetensors -o x.safetensors --postprocessing others.json
check "print config" 0 "$meddino" init --encoder vit_small --print-config
check "bench" 0 "$meddino" bench --encoder vit_small --size 64 --runs 1 --json
check "bench of pretraining" 0 "$meddino" bench --pretrain --size 32 --batch-size 2 --runs 1 --json
holds "its loss" grep -Eq '"total_loss": ?[12][0-9]' out.txt
check "bench of two things" 2 "$meddino" bench --train --pretrain

check "no arguments" 64 "$meddino" segment
check "missing model" 2 "$meddino" segment none.safetensors ct.nii.gz -o x.nii.gz
check "missing image" 2 "$meddino" segment m.safetensors none.nii.gz -o x.nii.gz
head -c 1000 ct.nii.gz >cut.nii.gz
check "truncated image" 2 "$meddino" segment m.safetensors cut.nii.gz -o x.nii.gz
holds "an error is one line" test "$(wc -l <err.txt)" = 1
check "bad ending" 2 "$meddino" segment m.safetensors ct.nii.gz -o x.txt
check "bad step" 2 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --step 2
check "unknown label" 2 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --labels 77
check "too many images" 2 "$meddino" segment m.safetensors ct.nii.gz ct.nii.gz -o x.nii.gz
check "too little memory" 3 "$meddino" segment m.safetensors ct.nii.gz -o x.nii.gz --max-memory 1M
check "unwritable folder" 2 "$meddino" segment m.safetensors ct.nii.gz -o nowhere/x.nii.gz
holds "failures leave no file" test ! -e x.nii.gz
"$meddino" phantom big.nii.gz --single --size 320,320,40 --seed 3 --quiet
timeout -s INT 0.7 "$meddino" segment m.safetensors big.nii.gz -o x.nii.gz --step 0.1 --threads 1 >out.txt 2>err.txt
holds "Ctrl-C ends the run at once" test $? = 124
holds "Ctrl-C leaves no file" test ! -e x.nii.gz
holds "no temporary files remain" test -z "$(ls | grep tmp- || true)"
echo "command line: $passed passed, $failed failed"
[ "$failed" = 0 ]
