#!/usr/bin/env bash
# Pretraining as a user meets it: volumes, a run, Ctrl-C and going on, the stages, the exported backbone, every kind of failure.
# Usage: pretrain.sh STAGE
set -uo pipefail
stage=$(cd "$1" && pwd)
meddino=$stage/bin/meddino
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

mkdir ct
for seed in 1 2; do "$meddino" phantom ct/v$seed.nii.gz --single --size 48,48,6 --seed $seed --quiet; done
cat >small.json <<'END'
{
  "student": {"embed_dim": 16, "depth": 2, "num_heads": 2},
  "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
  "ibot": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
  "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
  "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 1}}
}
END
small=(--preset tiny --config small.json --batch-size 2 --epochs 2 --epoch-length 3)

check "print config" 0 "$meddino" pretrain --preset ct-highres --print-config
holds "it has the official keys" grep -q '"global_local_crop_pairs_ratios"' out.txt
cp out.txt whole.json
check "what was printed is read" 0 "$meddino" pretrain --config whole.json --preset natural --print-config
holds "and says the same" cmp -s out.txt whole.json
check "options win" 0 "$meddino" pretrain "${small[@]}" --seed 7 --print-config
holds "the seed is the option's" grep -q '"seed": 7' out.txt

check "print config as YAML" 0 "$meddino" pretrain --preset ct-highres --print-config --format yaml
holds "sections are maps" grep -q '^crops:$' out.txt
cp out.txt whole.yaml
check "the YAML is read" 0 "$meddino" pretrain --config whole.yaml --preset natural --print-config
holds "and says what the JSON says" cmp -s out.txt whole.json
cat >small.yaml <<'END'
# the keys of small.json, with what YAML has beyond JSON
head: &head {head_n_prototypes: 24, head_bottleneck_dim: 8, head_hidden_dim: 12}
END
cat >anchors.yaml <<'END'
student:
  embed_dim: 16
  depth: 2
  num_heads: 2
  layerscale: 1e-4
  qkv_bias: false
dino: &head
  head_n_prototypes: 24
  head_bottleneck_dim: 8
  head_hidden_dim: 12
  koleo_distributed_loss_group_size: ~
ibot:
  head_n_prototypes: 24   # comments are allowed
  head_bottleneck_dim: 8
  head_hidden_dim: 12
  mask_ratio_min_max: [0.1, 0.5]
crops: {global_crops_size: 32, local_crops_size: 16, local_crops_number: 2}
schedules:
  lr: &constant {start: 0, peak: 1e-3, end: 1e-5, warmup_epochs: 1}
  teacher_temp: {<<: *constant, start: 0.04, peak: 0.07, end: 0.07}
END
check "anchors, 1e-4, null and booleans" 0 "$meddino" pretrain --config anchors.yaml --preset tiny --print-config
holds "have their values" python3 -c 'import json
d = json.load(open("out.txt"))
assert d["student"]["layerscale"] == 1e-4 and d["student"]["qkv_bias"] is False
assert d["dino"]["koleo_distributed_loss_group_size"] is None and d["schedules"]["lr"]["peak"] == 1e-3
assert d["schedules"]["teacher_temp"]["warmup_epochs"] == 1 and d["schedules"]["teacher_temp"]["end"] == 0.07'
check "an unknown key in YAML" 2 "$meddino" pretrain --config small.yaml --print-config
holds "is named" grep -q 'unknown key "head"' err.txt
printf 'optim:\n  epochs: 3\n  learning_rate: 1\n' >wrong.yaml
check "an unknown key below" 2 "$meddino" pretrain --config wrong.yaml --print-config
holds "is named with its path" grep -q 'optim.learning_rate' err.txt
printf 'student:\n  fp8_enabled: true\n' >wrong.yaml
check "an unsupported value" 2 "$meddino" pretrain --config wrong.yaml --print-config
holds "is named with what is expected" grep -q 'student.fp8_enabled is true, expected false' err.txt
printf 'optim: [1, 2\n' >wrong.yaml
check "broken YAML" 2 "$meddino" pretrain --config wrong.yaml --print-config
holds "names the file" grep -q 'wrong.yaml: no YAML' err.txt
printf 'optim: {epochs: 1, epochs: 2}\n' >wrong.yaml
check "a key that is given twice" 2 "$meddino" pretrain --config wrong.yaml --print-config
printf 'optim: {epochs: !!str 5}\n' >wrong.yaml
check "a text by its tag" 2 "$meddino" pretrain --preset tiny --config wrong.yaml --print-config
holds "is no number" grep -q 'optim.epochs is "5", expected a number' err.txt
printf 'optim: {epochs: !!int 5}\ntrain: {dataset_path: !!str 5}\n' >tags.yaml
check "tags that fit" 0 "$meddino" pretrain --preset tiny --config tags.yaml --print-config
printf 'optim: !!python/object:os.system {epochs: 2}\n' >wrong.yaml
check "a tag of another language" 2 "$meddino" pretrain --preset tiny --config wrong.yaml --print-config
holds "is refused" grep -q 'the tag .* is not supported' err.txt
printf 'optim: {a: 1, b: 2}\noops: 3\n' >wrong.yaml
check "several unknown keys" 2 "$meddino" pretrain --config wrong.yaml --print-config
holds "are named at once" grep -q '"optim.a", "optim.b", "oops"' err.txt
printf 'MODEL: {META_ARCHITECTURE: SSLMetaArch, DEVICE: cuda}\ncheckpointing: {keep_every: 99999999999999999}\n' >official.yaml
check "keys of the official code" 0 "$meddino" pretrain --preset tiny --config official.yaml --print-config
holds "that do nothing here are told" grep -q 'note: without effect here: MODEL.DEVICE' err.txt
check "a run shorter than its warm-up" 2 "$meddino" pretrain --preset ct-base --epochs 20 --print-config
holds "names the key" grep -q 'schedules.lr.warmup_epochs is 30' err.txt
check "a format without --print-config" 2 "$meddino" pretrain ct --format yaml -o x
check "an unknown format" 2 "$meddino" pretrain --print-config --format toml

check "pretrain" 0 "$meddino" pretrain ct "${small[@]}" -o one --json --quiet
holds "a line per iteration" test "$(grep -c '"total_loss"' out.txt)" = 6
holds "metrics" test "$(wc -l <one/metrics.jsonl)" = 6
holds "a backbone" test -s one/eval/training_6/backbone.safetensors
holds "a checkpoint for PyTorch" test -s one/eval/training_6/teacher_checkpoint.pth
check "the backbone becomes a model" 0 "$meddino" convert one/eval/training_6/backbone.safetensors -o m.safetensors
check "so does the teacher" 0 "$meddino" convert one/eval/training_6/teacher_checkpoint.safetensors -o t.safetensors
check "and the one for PyTorch" 0 "$meddino" convert one/eval/training_6/teacher_checkpoint.pth -o p.safetensors
check "info of the model" 0 "$meddino" info m.safetensors --verify --json
holds "its encoder is the run's" grep -q '"depth": 2' out.txt
check "info of a training checkpoint" 2 "$meddino" info one/pretraining_0000000006.safetensors
holds "the backbone is named" grep -q 'a training checkpoint: open backbone.safetensors' err.txt
check "a finished run has nothing to do" 0 "$meddino" pretrain ct "${small[@]}" -o one
holds "and says so" grep -q 'one is finished after iteration 6' err.txt
cp one/eval/training_6/backbone.safetensors kept.safetensors
rm -r one/eval
check "a finished run whose export is gone" 0 "$meddino" pretrain ct "${small[@]}" -o one --quiet
holds "writes it again" cmp -s kept.safetensors one/eval/training_6/backbone.safetensors
check "the first half" 0 "$meddino" pretrain ct "${small[@]}" -o two --until 3 --quiet --threads 1
check "goes on" 0 "$meddino" pretrain ct "${small[@]}" -o two --workers 0
holds "and says so" grep -q 'goes on after iteration 3' err.txt
holds "the same bytes as in one go" cmp -s one/eval/training_6/teacher_checkpoint.safetensors two/eval/training_6/teacher_checkpoint.safetensors
"$meddino" phantom labelled --cases 3 --test-cases 0 --size 48,48,24 --organs 3 --quiet
check "watched" 0 "$meddino" pretrain ct "${small[@]}" -o watched --watch-every 3 --probe-data labelled/Dataset* --quiet
holds "has the same bytes" cmp -s one/eval/training_6/teacher_checkpoint.safetensors watched/eval/training_6/teacher_checkpoint.safetensors
holds "two looks" test "$(grep -c '"patch_rank"' watched/metrics.jsonl)" = 2
holds "with Dice of frozen features" test "$(grep -c '"probe_linear_dice"' watched/metrics.jsonl)" = 2
holds "entropies at each iteration" test "$(grep -c '"teacher_entropy"' watched/metrics.jsonl)" = 6
holds "maps and a plot" test -s watched/watch/maps_3.png -a -s watched/watch/maps_6.png -a -s watched/progress.png
check "probe" 0 "$meddino" probe one/eval/training_6/backbone.safetensors watched/eval/training_6/backbone.safetensors \
  --data labelled/Dataset* --seeds 3 --shots 2 --random
holds "a row for random weights and each backbone" test "$(grep -c '±' out.txt)" = 3
check "probe as JSON" 0 "$meddino" probe one/eval/training_6/backbone.safetensors --data labelled/Dataset* --seeds 2 --json --quiet
holds "has Dice per seed and label" python3 -c 'import json
d = json.load(open("out.txt"))
assert len(d["backbones"][0]["seeds"]) == 2 and d["labels"]
assert 0 <= d["backbones"][0]["linear_dice"] <= 1
assert set(d["backbones"][0]["seeds"][0]["knn"]["dice_per_label"]) == set(d["labels"])'
check "a label twice" 2 "$meddino" probe one/eval/training_6/backbone.safetensors --data labelled/Dataset* --labels 1,1
check "too many shots" 2 "$meddino" probe one/eval/training_6/backbone.safetensors --data labelled/Dataset* --shots 1000
check "no labelled data" 2 "$meddino" probe one/eval/training_6/backbone.safetensors --data ct
check "a probe folder that is missing" 2 "$meddino" pretrain ct "${small[@]}" -o nowhere --watch-every 3 --probe-data none
check "a probe that is never made" 2 "$meddino" pretrain ct "${small[@]}" -o nowhere --probe-data labelled
check "recomputed activations" 0 "$meddino" pretrain ct "${small[@]}" -o again --recompute --quiet
holds "give the same bytes" cmp -s one/eval/training_6/teacher_checkpoint.safetensors again/eval/training_6/teacher_checkpoint.safetensors
check "products in bf16" 0 "$meddino" pretrain ct "${small[@]}" -o half --precision bf16 --quiet
holds "give others" test "$(cmp -s one/eval/training_6/backbone.safetensors half/eval/training_6/backbone.safetensors; echo $?)" = 1
check "other slices" 2 "$meddino" pretrain ct/v1.nii.gz "${small[@]}" -o two
holds "are refused" grep -q 'saw other slices' err.txt
check "other settings" 2 "$meddino" pretrain ct "${small[@]}" -o two --seed 3
holds "the key is named" grep -q 'train.seed is 3, the run has 0' err.txt

cat >gram.json <<'END'
{
  "gram": {"use_loss": true, "img_level": true, "loss_weight": 2, "update_frequency": 2, "max_updates": 1},
  "crops": {"gram_teacher_crops_size": 48}
}
END
python3 - <<'END'
import json
a, b = json.load(open("small.json")), json.load(open("gram.json"))
for section, keys in b.items(): a.setdefault(section, {}).update(keys)
json.dump(a, open("stage2.json", "w"))
END
second=(--preset tiny --config stage2.json --batch-size 2 --epochs 1 --epoch-length 3)
check "a stage without the one before" 2 "$meddino" pretrain ct "${second[@]}" -o lost
holds "the missing anchor is named" grep -q -- '--previous is not given, nor gram.ckpt' err.txt
check "the next stage" 0 "$meddino" pretrain ct "${second[@]}" -o three --previous one/pretraining_0000000006.safetensors --json
holds "every line of its output is JSON" json_lines out.txt
holds "its anchor has a loss" grep -q '"gram_loss"' out.txt
check "from the exported teacher" 0 "$meddino" pretrain ct "${second[@]}" -o four --previous one/eval/training_6/teacher_checkpoint.safetensors --quiet
holds "is the same" cmp -s three/eval/training_3/backbone.safetensors four/eval/training_3/backbone.safetensors
check "a teacher of other networks" 2 "$meddino" pretrain ct "${small[@]}" -o none --preset ct-base --previous one/pretraining_0000000006.safetensors
check "a teacher and a backbone" 2 "$meddino" pretrain ct "${second[@]}" -o none --previous one/pretraining_0000000006.safetensors --backbone nosuch
holds "both are named" grep -q 'train.previous_checkpoint.*student.pretrained_weights' err.txt
check "a backbone to start from" 0 "$meddino" pretrain ct "${small[@]}" -o five --backbone one/eval/training_6/backbone.safetensors --until 1 --quiet

"$meddino" pretrain ct "${small[@]}" -o stopped --epochs 4000 --quiet >out.txt 2>err.txt &
job=$!
for _ in $(seq 100); do
  [ "$(cat stopped/metrics.jsonl 2>/dev/null | wc -l)" -gt 2 ] && break
  sleep 0.1
done
kill -INT $job
wait $job
holds "Ctrl-C ends the run" test $? = 130
holds "and leaves a checkpoint" test -n "$(ls stopped | grep pretraining_)"

check "no sources" 64 "$meddino" pretrain -o x
check "no output" 64 "$meddino" pretrain ct "${small[@]}"
check "unknown preset" 2 "$meddino" pretrain ct --preset huge -o x
echo '{"optim": {"learning_rate": 1}}' >wrong.json
check "unknown key" 2 "$meddino" pretrain ct --config wrong.json -o x
holds "the key and its section are named" grep -q 'optim.learning_rate' err.txt
check "missing volume" 2 "$meddino" pretrain none.nii.gz "${small[@]}" -o x
mkdir empty
check "a folder without volumes" 2 "$meddino" pretrain empty "${small[@]}" -o x
check "a batch of one" 2 "$meddino" pretrain ct "${small[@]}" --batch-size 1 -o x
check "a wrong backbone" 2 "$meddino" pretrain ct "${small[@]}" --backbone ct/v1.nii.gz -o y
check "too little memory" 3 "$meddino" pretrain ct "${small[@]}" -o z --max-memory 100K
holds "no temporary files remain" test -z "$(find . -name '*tmp-*' || true)"
echo "pretraining: $passed passed, $failed failed"
[ "$failed" = 0 ]
