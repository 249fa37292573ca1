"""meddino and nnU-Net's 2D U-Net, trained for the same wall time on the same blocks of one CT, on this machine.

usage: unet.py build FOLDER                             the dataset alone
       unet.py unet FOLDER --seconds N                  nnU-Net's trainer, from PyPI
       unet.py ours FOLDER --seconds N --stage STAGE    meddino
       unet.py all FOLDER --seconds N --stage STAGE     both, in turns, and the table
Both learn from scratch, with the learning rate falling over the whole time: the number of updates that fit is measured first, outside
the time. Both use the last weights, mirror at prediction and have --threads threads. Needs Tests/Oracle/requirements.txt.
"""
import argparse
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import blocks

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Python"))
from program import meddino

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = pathlib.Path(os.environ.get("MEDDINO_DATA", ROOT.parent / "shared/data")) / "ts-abdpelvis-ct"
ITERATIONS = 50  # updates of what both trainers call an epoch
#: A small network of the scratch recipe: patches of 8 because the CT has 3 mm voxels.
SETTINGS = {
    "recipe": "scratch", "encoder": {"embed_dim": 192, "depth": 6, "num_heads": 6, "patch_size": 8}, "taps": [1, 3, 5],
    "decoder_lr": 1e-3, "encoder_lr": 1e-3, "drop_path": 0.1, "iterations": ITERATIONS, "validation_iterations": 1}


def precision():
    """bf16 only pays where the processor multiplies it; elsewhere products would be emulated."""
    with open("/proc/cpuinfo") as file:
        return "bf16" if "avx512_bf16" in file.read() else "f32"


def prepare_unet(folder):
    """nnU-Net's own planning and preprocessing, into `folder`."""
    environment = {
        **os.environ, **{f"nnUNet_{name}": os.path.join(folder, name) for name in ("raw", "preprocessed", "results")},
        "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
    script = "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry as run; run()"
    subprocess.run(
        [sys.executable, "-c", script, "-d", "901", "-c", "2d", "-np", "1", "-npfp", "1", "--verify_dataset_integrity"], check=True,
        env=environment, stdout=subprocess.DEVNULL)
    splits = os.path.join(folder, "preprocessed", blocks.NAME, "splits_final.json")
    shutil.copyfile(os.path.join(folder, "raw", blocks.NAME, "splits_final.json"), splits)
    os.environ.update(environment, nnUNet_n_proc_DA="0")  # batches are made by the training process: both processors are its own


def timed_step(trainer):
    """Seconds of one training step; the trainer is left as it was."""
    weights, optimizer = copy.deepcopy(trainer.network.state_dict()), copy.deepcopy(trainer.optimizer.state_dict())
    times = []
    for _ in range(5):
        start = time.perf_counter()
        trainer.train_step(next(trainer.dataloader_train))
        times.append(time.perf_counter() - start)
    trainer.network.load_state_dict(weights)
    trainer.optimizer.load_state_dict(optimizer)
    return sum(times[2:]) / 3


def train_unet(folder, seconds, threads):
    """nnU-Net's trainer with its default 2D U-Net, loss, augmentation and schedule; returns updates made and the folder of predictions."""
    prepare_unet(folder)
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    base = os.path.join(folder, "preprocessed", blocks.NAME)
    with open(os.path.join(base, "nnUNetPlans.json")) as plans, open(os.path.join(base, "dataset.json")) as description:
        trainer = nnUNetTrainer({**json.load(plans), "continue_training": False}, "2d", 0, json.load(description), torch.device("cpu"))
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = ITERATIONS, 1
    trainer.disable_checkpointing = True  # the time is for training
    trainer.initialize()
    trainer.on_train_start()
    trainer.network.train()
    step = timed_step(trainer)
    trainer.num_epochs = max(1, int(seconds / (step * (ITERATIONS + 0.4))))
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    start, updates = time.perf_counter(), 0
    for _ in range(trainer.num_epochs):  # run_training's loop with a clock
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        losses = []
        while len(losses) < ITERATIONS and time.perf_counter() - start < seconds:
            losses.append(trainer.train_step(next(trainer.dataloader_train)))
        if not losses:
            break
        updates += len(losses)
        trainer.on_train_epoch_end(losses)
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val))])
        trainer.on_epoch_end()
    used = time.perf_counter() - start
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network, trainer.plans_manager, trainer.configuration_manager, [trainer.network.state_dict()], trainer.dataset_json,
        "nnUNetTrainer", trainer.inference_allowed_mirroring_axes)
    output = os.path.join(folder, "predictions-unet")
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    predictor.predict_from_files_sequential(os.path.join(folder, "raw", blocks.NAME, "imagesTs"), output, save_probabilities=False)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    return {"updates": updates, "batch": trainer.batch_size, "seconds": used, "parameters": parameters, "predictions": output}


def finetune(stage, folder, name, threads, **changes):
    """One run; returns its folder and the wall seconds."""
    settings, run = os.path.join(folder, name + ".json"), os.path.join(folder, name)
    with open(settings, "w") as file:
        json.dump({**SETTINGS, "precision": precision(), **changes}, file, indent=2)
    shutil.rmtree(run, ignore_errors=True)
    start = time.perf_counter()
    meddino(
        stage, "finetune", os.path.join(folder, "ours", blocks.NAME), "--fold", 0, "--config", settings, "-o", run, "--threads", threads,
        "--quiet")
    return run, time.perf_counter() - start


def train_ours(folder, seconds, stage, threads):
    raw = os.path.join(folder, "raw", blocks.NAME)
    shutil.rmtree(os.path.join(folder, "ours"), ignore_errors=True)
    meddino(stage, "plan", raw, "-o", os.path.join(folder, "ours"), "--quiet")
    short = finetune(stage, folder, "run-short", threads, epochs=1)[1]
    longer = finetune(stage, folder, "run-longer", threads, epochs=4)[1]
    epoch = max((longer - short) / 3, 1e-3)  # start-up and saving drop out
    epochs = max(1, int(seconds / epoch))
    run, used = finetune(stage, folder, "run", threads, epochs=epochs, time_budget=seconds)
    output = os.path.join(folder, "predictions-ours")
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    model = os.path.join(run, "model_final.safetensors")
    for name in sorted(os.listdir(os.path.join(raw, "imagesTs"))):
        target = os.path.join(output, name.replace("_0000.nii.gz", ".nii.gz"))
        meddino(stage, "segment", model, os.path.join(raw, "imagesTs", name), "-o", target, "--threads", threads, "--quiet")
    summary = os.path.join(folder, "ours-summary.json")
    meddino(
        stage, "evaluate", output, os.path.join(raw, "labelsTs"), "--labels", os.path.join(raw, "dataset.json"), "--summary", summary,
        "--quiet")
    agree(summary, blocks.dice(raw, output))
    with open(os.path.join(run, "metrics.jsonl")) as file:
        last = [json.loads(line) for line in file if line.strip()][-1]
    info = json.loads(meddino(stage, "info", model, "--json"))
    return {
        "updates": (last["epoch"] + 1) * ITERATIONS, "seconds": used, "parameters": info["parameters"], "predictions": output}


def agree(summary, dice):
    """meddino's own evaluation, pooled over the blocks, must give the Dice of this script."""
    with open(summary) as file:
        cases = [case["metrics"] for case in json.load(file)["metric_per_case"]]
    for number, (name, value) in enumerate(dice.items(), 1):
        hits, wrong, missed = (sum(case[str(number)][key] for case in cases) for key in ("TP", "FP", "FN"))
        pooled = 2 * hits / (2 * hits + wrong + missed)
        if abs(pooled - value) > 1e-9:
            raise SystemExit(f"FAIL {name}: meddino evaluate gives a Dice of {pooled}, the voxels give {value}")


def table(results, folder):
    raw = os.path.join(folder, "raw", blocks.NAME)
    scores = {name: blocks.dice(raw, result["predictions"]) for name, result in results.items()}
    print(f"\n{'held-out Dice':18}" + "".join(f"{name:>12}" for name in scores))
    for organ in blocks.ORGANS:
        print(f"{organ:18}" + "".join(f"{score[organ]:12.4f}" for score in scores.values()))
    means = {name: sum(score.values()) / len(score) for name, score in scores.items()}
    print(f"{'mean':18}" + "".join(f"{mean:12.4f}" for mean in means.values()))
    for key in ("updates", "seconds", "parameters"):
        print(f"{key:18}" + "".join(f"{result[key]:12.0f}" for result in results.values()))
    report = {name: {**result, "dice": scores[name], "mean_dice": means[name]} for name, result in results.items()}
    with open(os.path.join(folder, "unet.json"), "w") as file:
        json.dump(report, file, indent=2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["build", "unet", "ours", "all"])
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=600, help="wall time of each training")
    parser.add_argument("--stage")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    options = parser.parse_args()
    if not SOURCE.exists():
        raise SystemExit(f"{SOURCE} is missing (MEDDINO_DATA names the folder)")
    if options.what in ("ours", "all") and not options.stage:
        parser.error("--stage is missing")
    folder = os.path.abspath(options.folder)
    voxels, slices = blocks.check(blocks.build(SOURCE, os.path.join(folder, "raw")))
    print(f"{slices['Tr']} training and {slices['Ts']} held-out slices; voxels held out per organ {voxels['Ts'][1:].tolist()}", flush=True)
    results = {}
    if options.what in ("unet", "all"):
        results["nnU-Net 2D"] = train_unet(folder, options.seconds, options.threads)
    if options.what in ("ours", "all"):
        results["meddino"] = train_ours(folder, options.seconds, os.path.abspath(options.stage), options.threads)
    if results:
        table(results, folder)


if __name__ == "__main__":
    main()
