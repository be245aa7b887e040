"""Kill a training run at random moments, and compare its result with a complete run's.

    python scripts/kill_training.py             20 kills
    python scripts/kill_training.py --kills 3 --seed 7

The run uses everything that has a state: AdamW, warm-up, averaged weights, mixed
images, accumulated gradients; tests/test_train.py stops and resumes the same recipe. It
saves its state every third step, so many kills hit a file that is half written. Fails
if a weight differs in a single bit.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

SPEC = """arch 1

network Net {
    input 1x8x8
    conv 3x3 8 -> bn -> relu
    conv 3x3 16 /2 -> bn -> relu -> globalavgpool -> dropout 0.2
    linear 10
}
"""
RECIPE = """
epochs = 3
batch = 256
accumulate = 2
clip_norm = 1.0
label_smoothing = 0.1
[optimizer]
kind = "adamw"
lr = 0.01
weight_decay = 0.01
[schedule]
kind = "cosine"
warmup_epochs = 1
[ema]
decay = 0.9
[images]
pad = 1
mixup = 0.2
cutmix = 1.0
"""


def command(folder: Path, run: str) -> list[str]:
    return [
        *(sys.executable, "-m", "archdsl", "train", str(folder / "net.arch")),
        *("--data", "digits", "--recipe", str(folder / "recipe.toml")),
        # Long enough to be killed often.
        *("--set", "epochs=40", "--set", "batch=64"),
        *("--save-every", "3", "--resume", "-o", str(folder / run)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net.arch").write_text(SPEC, encoding="utf-8")
        (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
        subprocess.run(command(folder, "whole"), check=True, capture_output=True)
        killed = 0
        while killed < given.kills:
            states = folder / "killed" / "checkpoints"
            before = {*states.glob("*.pt")}
            process = subprocess.Popen(
                command(folder, "killed"), stderr=subprocess.DEVNULL
            )
            # Starting takes longer than a step, so wait for its first state.
            while process.poll() is None and {*states.glob("*.pt")} == before:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.5))
            ended = process.poll() is not None
            process.kill()
            process.wait()
            if ended:
                break
            killed += 1
            newest = max(states.glob("*.pt"), default=None)
            print(f"killed {killed} times, the last time after {newest}", flush=True)
        subprocess.run(command(folder, "killed"), check=True, capture_output=True)
        a, b = (
            load_file(folder / run / "weights.safetensors")
            for run in ("whole", "killed")
        )
        wrong = [key for key in a if not torch.equal(a[key], b[key])]
    print(f"killed {killed} times: {', '.join(wrong) or 'no weight'} differs")
    return bool(wrong) or killed < given.kills


if __name__ == "__main__":
    sys.exit(main())
