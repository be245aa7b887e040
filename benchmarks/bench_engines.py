"""Which engine to train on: CPU time, clean exits and resumption of three.

    python benchmarks/bench_engines.py            prints the table
    python benchmarks/bench_engines.py --write    keeps it in engines.md

Each engine trains the same small network for 40 steps, alone and as two processes of
torchrun over gloo, saves its state after 20, and resumes from it in a new process.
Engines that are not installed are left out.
"""

import argparse
import datetime
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from page import machine

REPORT = Path(__file__).with_name("engines.md")
RUNS = 3

PROGRAM = """
import os, sys, time
import torch
from torch import nn

ENGINE, STATE, UNTIL = sys.argv[1], sys.argv[2], int(sys.argv[3])
WORLD = int(os.environ.get("WORLD_SIZE", "1"))

torch.manual_seed(0)
torch.set_num_threads(1)
net = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
raw, rank, back = net, 0, lambda loss: loss.backward()
end = lambda: None
if ENGINE == "torch":
    if WORLD > 1:
        torch.distributed.init_process_group("gloo")
        rank = torch.distributed.get_rank()
        net = nn.parallel.DistributedDataParallel(net)
        end = torch.distributed.destroy_process_group
elif ENGINE == "fabric":
    from lightning_fabric import Fabric
    fabric = Fabric(
        accelerator="cpu", devices=WORLD, strategy="ddp" if WORLD > 1 else "auto"
    )
    fabric.launch()
    rank = fabric.global_rank
    net, optimizer = fabric.setup(net, optimizer)
    back = fabric.backward
    if WORLD > 1:
        end = torch.distributed.destroy_process_group
else:
    from accelerate import Accelerator
    engine = Accelerator(cpu=True)
    rank = engine.process_index
    net, optimizer = engine.prepare(net, optimizer)
    back = engine.backward
    end = engine.end_training
step = 0
if os.path.exists(STATE):
    state = torch.load(STATE, weights_only=True)
    raw.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
while step < UNTIL:
    torch.manual_seed(step)
    images, labels = torch.randn(32, 1, 8, 8), torch.randint(10, (32,))
    images, labels = images[rank::WORLD], labels[rank::WORLD]
    loss = nn.functional.cross_entropy(net(images), labels)
    back(loss)
    optimizer.step()
    optimizer.zero_grad()
    step += 1
if rank == 0:
    print("sum", float(sum(p.double().sum() for p in raw.parameters())).hex())
    torch.save(
        {"net": raw.state_dict(), "optimizer": optimizer.state_dict(), "step": step},
        STATE,
    )
end()
"""


class Row(NamedTuple):
    """The result of an engine."""

    engine: str
    processes: int
    seconds: float
    clean: int
    runs: int
    resumed: bool


def run(program: Path, engine: str, processes: int, state: Path, until: int) -> str:
    """Return the output of a run; empty if it fails."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone"]
        start += ["--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*start, program, engine, state, str(until)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("sum")]
    return lines[0] if done.returncode == 0 and lines else ""


def cpu_seconds() -> float:
    """Return the CPU time of all child processes; other processes disturb it less."""
    used = os.times()
    return used.children_user + used.children_system


def measured(engine: str, processes: int, folder: Path, runs: int) -> Row:
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    seconds, whole = [], []
    for number in range(runs):
        start = cpu_seconds()
        state = folder / f"{engine}-{processes}-{number}.pt"
        whole.append(run(program, engine, processes, state, 40))
        seconds.append(cpu_seconds() - start)
    state = folder / f"{engine}-{processes}.pt"
    run(program, engine, processes, state, 20)
    resumed = run(program, engine, processes, state, 40)
    return Row(
        engine,
        processes,
        statistics.median(seconds),
        sum(map(bool, whole)),
        runs,
        bool(resumed) and resumed == whole[-1],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--write", action="store_true", help="keep the table")
    given = parser.parse_args()
    modules = {
        "torch": "torch",
        "fabric": "lightning_fabric",
        "accelerate": "accelerate",
    }
    lines = [
        "| engine | processes | CPU time | clean exits | resumes bit for bit |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for engine, module in modules.items():
            if importlib.util.find_spec(module) is None:
                print(f"{engine} is not installed")
                continue
            for processes in (1, 2):
                row = measured(engine, processes, Path(folder), given.runs)
                lines.append(
                    f"| {row.engine} | {row.processes} | {row.seconds:.1f} s | "
                    f"{row.clean} of {row.runs} | {'yes' if row.resumed else 'no'} |"
                )
                print(lines[-1], flush=True)
    if given.write:
        head, _, tail = REPORT.read_text(encoding="utf-8").partition("<!-- table -->")
        _, _, tail = tail.partition("<!-- end -->")
        when = f"{datetime.date.today()}, {machine()}."
        table = "\n".join(["<!-- table -->", when, "", *lines, "", "<!-- end -->"])
        REPORT.write_text(f"{head}{table}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
