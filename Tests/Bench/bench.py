"""Forward passes, training and pretraining steps of the installed meddino beside those of peers on the same network, in turns, in one run.

usage: bench.py STAGE [--threads N] [--rounds N] [--sizes 512,896] [--precisions f32,bf16] [--train-sizes 512] [--ssl f32,bf16]
                [--peers torch,openvino] [--output FILE]
Every peer has a process of its own. A round is one pass of the peer, then one of meddino, each after a warm-up. A round during
which other processes took more than 5 % of the processors is repeated while time allows; the quietest rounds count.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


TICK = os.sysconf("SC_CLK_TCK")
QUIET = 0.05
SSL_SIZE = 224  # pixels of the global crops of pretraining


def busy_seconds():
    """Processor seconds that anybody used, since the start of the machine."""
    with open("/proc/stat") as file:
        fields = [int(value) for value in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def child_seconds(process=None):
    """Processor seconds of the children that ended, and of one that runs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = usage.ru_utime + usage.ru_stime
    if process:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def ours(stage, size, precision, options, kind="forward"):
    """Seconds, peak bytes and, of a forward pass, GFLOP/s of one pass or step after a warm-up.

    kind: "forward", a training step ("train", "recompute") or a pretraining step ("ssl").
    """
    command = [
        os.path.join(stage, "bin/meddino"), "bench", "--size", size, "--precision", precision, "--runs", 1, "--threads", options.threads,
        "--json"]
    command += ["--pretrain"] if kind == "ssl" else ["--classes", options.classes]
    command += {"train": ["--train"], "recompute": ["--train", "--recompute"]}.get(kind, [])
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"meddino bench: exit {done.returncode}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if kind == "forward":
        return result["median_seconds"], result["peak_rss_bytes"], result["gflops"]
    return result["seconds"], result["peak_bytes"], None


def ceiling(threads):
    """GFLOP/s of multiply-adds on registers by precision, from ceiling.c; empty where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return {}
    with tempfile.TemporaryDirectory(prefix="meddino-bench-") as folder:
        program = os.path.join(folder, "ceiling")
        subprocess.run([compiler, "-O2", "-march=native", HERE / "ceiling.c", "-o", program, "-lpthread"], check=True)
        found = json.loads(subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout)
    return {precision: found[precision] for precision in ("f32", "bf16") if found[precision]}


def offers(stage, option):
    """Whether this meddino's bench has the option."""
    done = subprocess.run([os.path.join(stage, "bin/meddino"), "bench", "--help"], capture_output=True, text=True)
    return option in done.stdout


def has_bfloat16():
    """Whether the processor multiplies in bf16."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    flags = {flag for line in text.splitlines() if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "avx_bf16", "bf16"})


def worker(name, precision, size, options, file):
    return [str(part) for part in (sys.executable, HERE / "worker.py", name, precision, size, options.threads, options.classes, file)]


class Peer:
    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{' '.join(command)} ended early")

    def run(self):
        print("run", file=self.process.stdin, flush=True)
        result = json.loads(self.process.stdout.readline())
        return result["seconds"], result["peak"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(stage, ceilings, name, size, precision, options, file, kind="forward"):
    """One row of the table."""
    title = f"ssl/{precision} vs {name}" if kind == "ssl" else f"{kind}/{size}/{precision} vs {name}"
    suffix = {"forward": "", "ssl": "-ssl"}.get(kind, "-train")
    peer = Peer(worker(name + suffix, precision, size, options, file))
    patience = options.patience * {"forward": 1, "ssl": 20}.get(kind, 4)
    attempts, start = [], time.time()
    while sum(share <= QUIET for share, *_ in attempts) < options.rounds:
        late = time.time() - start > patience * size * size / 512 / 512
        if late and len(attempts) >= options.rounds:
            break
        used, own, begun = busy_seconds(), child_seconds(peer.process), time.time()
        theirs = peer.run()
        peer.process.send_signal(signal.SIGSTOP)  # idle threads that spin would be in meddino's way
        mine = ours(stage, size, precision, options, kind)
        peer.process.send_signal(signal.SIGCONT)
        others = busy_seconds() - used - (child_seconds(peer.process) - own)
        attempts.append((max(others, 0) / (time.time() - begun) / (os.cpu_count() or 1), mine, theirs))
    peer.close()
    chosen = sorted(attempts)[:options.rounds]
    disturbance, pairs = chosen[-1][0], [attempt[1:] for attempt in chosen]
    mine, other = ([pair[side][0] for pair in pairs] for side in (0, 1))
    row = {
        "name": title, "kind": kind, "peer": name, "size": size, "precision": precision, "threads": options.threads,
        "rounds": options.rounds, "disturbance": disturbance,
        "ours_median_seconds": statistics.median(mine), "peer_median_seconds": statistics.median(other),
        "ratio": statistics.median(other) / statistics.median(mine), "ours_spread": max(mine) - min(mine),
        "peer_spread": max(other) - min(other), "ours_peak_bytes": max(pair[0][1] for pair in pairs),
        "peer_peak_bytes": max(pair[1][1] for pair in pairs)}
    if kind == "forward" and precision in ceilings:
        row["ceiling_share"] = statistics.median(pair[0][2] for pair in pairs) / ceilings[precision]
    print(
        f"{title:34}{row['ours_median_seconds']:9.3f} ± {row['ours_spread'] / 2:5.3f}{row['peer_median_seconds']:10.3f} ± "
        f"{row['peer_spread'] / 2:5.3f}{row['ratio']:8.2f}x{row['ours_peak_bytes'] / 1e6:10.0f}{row['peer_peak_bytes'] / 1e6:10.0f}"
        + (f"{100 * row['ceiling_share']:9.0f} %" if "ceiling_share" in row else "")
        + (f"   others used {100 * disturbance:.0f} % of the processors" if disturbance > QUIET else ""), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="512,896")
    parser.add_argument("--train-sizes", default="512", help="sizes of the training rows (batch 1, beside torch alone); empty for none")
    parser.add_argument("--precisions", default="f32,bf16")
    parser.add_argument(
        "--ssl", metavar="PRECISIONS", help="precisions of the pretraining rows (ViT-S, 4 images, 2 crops of 224 and 8 of 96 pixels, "
        "beside torch alone): f32 by default, and bf16 where the processor has it; empty for none")
    parser.add_argument("--classes", type=int, default=16)
    parser.add_argument("--peers", default="torch,openvino")
    parser.add_argument("--patience", type=float, default=12, help="seconds a row at 512 may take to find quiet rounds; more at 896")
    parser.add_argument("--output", default=str(HERE.parents[1] / "bench/results.json"))
    options = parser.parse_args()
    precisions = options.precisions.split(",")
    if set(precisions) - {"f32", "bf16"}:
        parser.error(f"--precisions is {options.precisions}, expected f32, bf16 or both")
    pretraining = ["f32"] + ["bf16"] * has_bfloat16() if options.ssl is None else [part for part in options.ssl.split(",") if part]
    if set(pretraining) - {"f32", "bf16"}:
        parser.error(f"--ssl is {options.ssl}, expected f32, bf16, both or nothing")
    version = subprocess.run([os.path.join(options.stage, "bin/meddino"), "--version"], capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0]
    print(f"meddino {version}, {options.threads} threads, load {load:.1f} at the start; seconds are medians ± half the spread")
    ceilings = ceiling(options.threads)
    print("of the ceiling: share of the GFLOP/s of multiply-adds on registers, " + (
        ", ".join(f"{value:.0f} in {precision}" for precision, value in ceilings.items()) or "not measured without a C compiler"))
    print(f"{'':34}{'meddino s':>15}{'peer s':>18}{'ratio':>9}{'MB':>10}{'peer MB':>10}{'ceiling':>11}", flush=True)
    rows, start = [], time.time()
    output = pathlib.Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)

    def add(*arguments):
        rows.append(compare(options.stage, ceilings, *arguments))
        results = {"version": version, "load_at_start": load, "ceiling_gflops": ceilings, "rows": rows}
        output.write_text(json.dumps(results, indent=2) + "\n")

    for name in filter(None, options.peers.split(",")):
        if name == "openvino" and subprocess.run([sys.executable, "-c", "import openvino"], capture_output=True).returncode:
            print("openvino: skipped, not installed (pip install openvino)")
            continue
        for size in map(int, filter(None, options.sizes.split(","))):
            with tempfile.TemporaryDirectory(prefix="meddino-bench-") as folder:
                file = os.path.join(folder, "network.xml")
                if name == "openvino":
                    subprocess.run(worker("convert", "f32", size, options, file), check=True, capture_output=True)
                for precision in precisions:
                    add(name, size, precision, options, file)
    sizes = [int(size) for size in options.train_sizes.split(",") if size]
    if sizes and not offers(options.stage, "--train"):
        print("train: skipped, this meddino bench has no --train")
        sizes = []
    for size in sizes:
        for precision in precisions:
            for kind in ("train", "recompute"):
                add("torch", size, precision, options, "-", kind)
    if pretraining and not offers(options.stage, "--pretrain"):
        print("ssl: skipped, this meddino bench has no --pretrain")
        pretraining = []
    for precision in pretraining:
        add("torch", SSL_SIZE, precision, options, "-", "ssl")
    for row in rows:
        if row["kind"] != "forward":
            memory = row["ours_peak_bytes"] / row["peer_peak_bytes"]
            print(f"{row['name']}: {row['ratio']:.2f} times as fast, {100 * memory:.0f} % of the peak memory")
    print(f"{output} in {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
