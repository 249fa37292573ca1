#!/usr/bin/env bash
# Runs of two processes over MPI: pretraining and fine-tuning with half of every batch each, beside one process with the whole batch.
# Usage: run.sh STAGE. Skips with a word where MPI is not installed.
set -uo pipefail
stage=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/../.." && pwd)
meddino=$stage/bin/meddino
compare=$here/Tests/MPI/compare.py
for program in mpicc mpirun; do
  command -v $program >/dev/null || {
    echo "MPI: skipped, $program is not installed (apt-get install libopenmpi-dev)"
    exit 0
  }
done
make --no-print-directory -C "$here" mpi >/dev/null || exit 1
export MEDDINO_MPI_LIBRARY=$here/.build-mpi/libmeddino_mpi.so
# Containers without CMA would warn; tests may run as root and on fewer processors than ranks.
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
. "$here/Tests/Command/checks.sh"
two=(mpirun -np 2 "$meddino")

mkdir ct
for seed in 1 2; do "$meddino" phantom ct/v$seed.nii.gz --single --size 48,48,6 --seed $seed --quiet; done
cat >small.json <<'END'
{
  "student": {"embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0, "layerscale": 0.5},
  "dino": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12, "koleo_loss_distributed": true},
  "ibot": {"head_n_prototypes": 24, "head_bottleneck_dim": 8, "head_hidden_dim": 12},
  "crops": {"global_crops_size": 32, "local_crops_size": 16, "local_crops_number": 2},
  "schedules": {"lr": {"warmup_epochs": 1, "freeze_last_layer_epochs": 0}, "teacher_temp": {"warmup_epochs": 1}}
}
END
small=(--preset tiny --config small.json --epochs 2 --epoch-length 2)

mkdir -p installed/bin installed/lib
cp "$meddino" installed/bin/meddino
cp "$MEDDINO_MPI_LIBRARY" installed/lib/
check "the library beside the program" 0 env -u MEDDINO_MPI_LIBRARY mpirun -np 2 installed/bin/meddino pretrain --preset tiny --print-config
holds "is found, and one prints" test "$(grep -c '"batch_size_per_gpu"' out.txt)" = 1

# Pretraining
check "a whole batch" 0 "$meddino" pretrain ct "${small[@]}" --batch-size 4 -o whole --quiet
check "halves on two ranks" 0 "${two[@]}" pretrain ct "${small[@]}" --batch-size 2 -o halves --json
holds "one line per iteration" test "$(grep -c '"total_loss"' out.txt)" = 4
holds "the processes are told" grep -q '^2 processes of 2 images' err.txt
holds "only the first writes" test "$(wc -l <halves/metrics.jsonl)" = 4
check "metrics agree" 0 python3 "$compare" metrics whole/metrics.jsonl halves/metrics.jsonl
check "teachers agree" 0 python3 "$compare" weights whole/eval/training_4/teacher_checkpoint.safetensors halves/eval/training_4/teacher_checkpoint.safetensors
check "students and moments agree" 0 python3 "$compare" weights whole/pretraining_0000000004.safetensors halves/pretraining_0000000004.safetensors
check "two ranks until the middle" 0 "${two[@]}" pretrain ct "${small[@]}" --batch-size 2 -o parts --until 2 --quiet
check "and on" 0 "${two[@]}" pretrain ct "${small[@]}" --batch-size 2 -o parts
holds "the first says so" test "$(grep -c 'goes on after iteration 2' err.txt)" = 1
holds "the same bytes as in one go" cmp -s halves/eval/training_4/backbone.safetensors parts/eval/training_4/backbone.safetensors
check "one process goes on with the whole batch" 0 "$meddino" pretrain ct "${small[@]}" --batch-size 4 -o parts --quiet

python3 - <<'END'
import json
a = json.load(open("small.json"))
a["gram"] = {"use_loss": True, "img_level": True, "loss_weight": 2, "update_frequency": 2, "max_updates": 1}
a["crops"]["gram_teacher_crops_size"] = 48
json.dump(a, open("stage2.json", "w"))
END
second=(--preset tiny --config stage2.json --epochs 1 --epoch-length 3 --previous whole/eval/training_4/teacher_checkpoint.safetensors)
check "the second stage" 0 "$meddino" pretrain ct "${second[@]}" --batch-size 4 -o gram --quiet
check "on two ranks" 0 "${two[@]}" pretrain ct "${second[@]}" --batch-size 2 -o grams --quiet
check "its metrics agree" 0 python3 "$compare" metrics gram/metrics.jsonl grams/metrics.jsonl
check "its teachers agree" 0 python3 "$compare" weights gram/eval/training_3/teacher_checkpoint.safetensors grams/eval/training_3/teacher_checkpoint.safetensors

# Fine-tuning
"$meddino" phantom raw --cases 5 --test-cases 0 --organs 3 --size 48,48,4 --quiet
"$meddino" plan raw/Dataset900_Phantom -o pre --upscale 64 --quiet >/dev/null
cat >network.json <<'END'
{"drop_path": 0, "workers": 0, "epochs": 2, "iterations": 2, "validation_iterations": 3, "batch_size": 4, "save_every": 1}
END
tune=(finetune pre/Dataset900_Phantom --config network.json --backbone small.safetensors)
"$meddino" convert whole/eval/training_4/backbone.safetensors -o small.safetensors --quiet
check "fine-tuning" 0 "$meddino" "${tune[@]}" -o tuned --quiet
check "on two ranks" 0 "${two[@]}" "${tune[@]}" -o shared --json
holds "one line per epoch" test "$(grep -c '"train_loss"' out.txt)" = 2
holds "and one of whole volumes" test "$(grep -c '"validation": {\|"validation":{' out.txt)" = 1
check "metrics agree" 0 python3 "$compare" metrics tuned/metrics.jsonl shared/metrics.jsonl
check "models agree" 0 python3 "$compare" weights tuned/model_final.safetensors shared/model_final.safetensors
holds "whole volumes are the first's" test -s shared/validation/summary.json
check "whole volumes again" 0 "${two[@]}" "${tune[@]}" -o shared --validate-only
holds "by the first alone" test "$(grep -c 'mean Dice' err.txt)" = 1
check "too few images" 2 "${two[@]}" "${tune[@]}" -o few --batch-size 1
holds "they are counted" grep -q 'batch_size is 1, expected at least 2' err.txt

# Failures
check "without the library" 1 env MEDDINO_MPI_LIBRARY=/nowhere/libmeddino_mpi.so "${two[@]}" pretrain ct "${small[@]}" -o x
holds "the place is named" grep -q 'libmeddino_mpi.so is not at /nowhere/libmeddino_mpi.so' err.txt
holds "and nothing is done by one process" test ! -e x
check "one process needs no library" 0 env MEDDINO_MPI_LIBRARY=/nowhere/libmeddino_mpi.so "$meddino" pretrain ct "${small[@]}" --batch-size 2 -o alone --until 1 --quiet
check "an unknown way" 2 "$meddino" pretrain ct "${small[@]}" -o x --distributed nccl
holds "the ways are named" grep -q -- '--distributed is "nccl", expected mpi' err.txt
check "other sources on the second rank" 2 timeout 60 mpirun -np 1 "$meddino" pretrain ct "${small[@]}" --batch-size 2 -o y : -np 1 "$meddino" pretrain none.nii.gz "${small[@]}" --batch-size 2 -o y
holds "the rank and its file are named" grep -q 'rank 1 of 2: none.nii.gz' err.txt
check "other weights on the second rank" 1 timeout 60 mpirun -np 1 "$meddino" pretrain ct "${small[@]}" --batch-size 2 -o z : -np 1 "$meddino" pretrain ct "${small[@]}" --batch-size 2 --seed 3 -o z
holds "are noticed" grep -q 'the weights of rank 1 differ' err.txt
check "a common failure" 2 timeout 60 "${two[@]}" pretrain none.nii.gz "${small[@]}" -o w
holds "is said once" test "$(grep -c 'meddino: rank' err.txt)" = 1

mpirun -np 2 "$meddino" pretrain ct "${small[@]}" --batch-size 2 --epochs 4000 -o stopped --quiet >out.txt 2>err.txt &
job=$!
for _ in $(seq 200); do
  [ "$(cat stopped/metrics.jsonl 2>/dev/null | wc -l)" -gt 2 ] && break
  sleep 0.1
done
# Only one rank is told.
kill -INT "$(pgrep -P $job -x meddino | head -1)"
wait $job
holds "a stop of one rank ends all" test $? = 130
holds "with a checkpoint" test -n "$(ls stopped | grep pretraining_)"
holds "no temporary files remain" test -z "$(find . -name '*tmp-*' || true)"
echo "MPI: $passed passed, $failed failed"
[ "$failed" = 0 ]
