"""How far off is the time that is predicted for a trial?

    XFER_DATA=... TORCH_HOME=... python -m benchmarks.forecast [ROUNDS [WORKERS]] [--cpu]

Draws eight recipes (squeezenet1_1, mobilenet_v2 and three convolutions, any unfreeze depth, at 64
pixels), predicts each from a measurement as a search makes it, then trains them on the chest X-rays
in processes like workers, so many side by side. Prints predicted and measured seconds and the
median of the relative error, for each round and over all. With --cpu both are processor time of the
process, for a machine that others use, too.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from time import perf_counter, process_time
from typing import Any

from search.measuring import LIMIT_S
from search.workers import Slots, count_cpus, environment
from search.works import TRIAL_SECONDS, describe_each, works_of
from xfer.recipe import (
    Augment,
    ConvNet,
    Head,
    Images,
    Objective,
    Pretrained,
    Recipe,
    from_json,
    to_json,
)
from xfer.speed import Speed

SIZE, EPOCHS, TRIALS = 64, 2, 8
SHAPE = {"classes": 2, "size": SIZE, "channels": 1}
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75)
CLOCKS = {"wall": perf_counter, "cpu": process_time}


def draw_recipe(generator: random.Random) -> Recipe:
    """One of the models, any depth, a batch of 16 or 32, with and without changes."""
    name = generator.choice(["squeezenet1_1", "mobilenet_v2", "convnet"])
    if name == "convnet":
        width = generator.choice([8, 16])
        model = ConvNet(kernels=(width, 2 * width, 4 * width), batch_norm=True)
    else:
        model = Pretrained(name, unfreeze_depth=generator.randint(0, 4))
    return Recipe(
        model=model,
        head=Head(dense=generator.choice([(), (64,)])),
        lr=1e-4,
        batch_size=generator.choice([16, 32]),
        augment=generator.choice([Augment(), Augment.light()]),
        epochs=EPOCHS,
    )


def load() -> Any:
    """The chest X-rays, decoded once, as trials see them."""
    from xfer.data.dataset import load_dataset
    from xfer.store import Store, default_root

    folder = Path(os.environ["XFER_DATA"]) / "chest_xray"
    images = Images(str(folder), positive="PNEUMONIA", size=SIZE, channels=1)
    return load_dataset(images, store=Store(default_root()))[0].without("test")


def work() -> None:
    """In a process like a worker's: answers each line of questions by a line."""
    from xfer.numerics import set_threads
    from xfer.timing import measure
    from xfer.train import fit

    set_threads(int(os.environ["OMP_NUM_THREADS"]))
    clock = CLOCKS[sys.argv[2]]
    data = load()
    for line in sys.stdin:
        question = json.loads(line)
        recipes = from_json(question["recipes"])
        if question["measure"]:
            how = {"threads": int(os.environ["OMP_NUM_THREADS"]), "device": "cpu"}
            speed = measure(recipes, **SHAPE, **how, limit_s=LIMIT_S, clock=clock)
            print(json.dumps(speed.to_json()), flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = clock()
            trial = {"seed": 0, "checkpoint": Path(folder) / "trial", "device": "cpu"}
            epochs = list(fit(recipes[0], data, OBJECTIVE, **trial))
            seconds = clock() - began
        print(json.dumps([seconds, sum(each.seconds for each in epochs)]), flush=True)


class Workers:
    """So many processes, each with a share of the cores."""

    def __init__(self, slots: Slots, clock: str) -> None:
        self._count = slots.workers
        self._free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        for _ in range(slots.workers):
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.forecast", "--work", clock],
                env=os.environ | environment(slots),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._free.put(process)

    def _ask(self, question: dict[str, Any]) -> Any:
        process = self._free.get()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        self._free.put(process)
        return answer

    def _ask_all(self, questions: list[dict[str, Any]]) -> list[Any]:
        with ThreadPoolExecutor(self._count) as pool:
            return list(pool.map(self._ask, questions))

    def measure(self, recipes: list[Recipe]) -> Speed:
        """The speed of one of them, where all of them measure."""
        question = {"measure": True, "recipes": to_json(tuple(recipes))}
        return Speed.from_json(self._ask_all([question] * self._count)[0])

    def train(self, recipes: list[Recipe]) -> list[list[float]]:
        """Seconds of each recipe, and wall time of its epochs, as many at once as workers."""
        questions = [{"measure": False, "recipes": to_json((one,))} for one in recipes]
        return self._ask_all(questions)

    def end(self) -> None:
        """Lets the processes end."""
        for _ in range(self._count):
            self._free.get().communicate()


def main() -> None:
    """Prints the tables."""
    arguments = [each for each in sys.argv[1:] if each != "--cpu"]
    rounds = int(arguments[0]) if arguments else 3
    count = int(arguments[1]) if len(arguments) > 1 else count_cpus()
    cpu = "--cpu" in sys.argv
    threads = 1 if cpu else count_cpus() // count
    slots = Slots(workers=count, threads=threads, gpus_per_trial=0.0, device="cpu")
    data = load()
    counts = {part: len(data.splits[part]) for part in ("train", "val")}
    workers = Workers(slots, "cpu" if cpu else "wall")
    # Every process trains a small model first: imports are not what is measured.
    first = Recipe(model=Pretrained("squeezenet1_1"), lr=1e-4, epochs=1)
    workers.train([first] * count)
    errors = []
    for number in range(rounds):
        generator = random.Random(number)
        recipes = [draw_recipe(generator) for _ in range(TRIALS)]
        speed = workers.measure(recipes)
        works = works_of(
            recipes,
            describe_each(recipes, **SHAPE),
            speed,
            epochs=EPOCHS,
            train_images=counts["train"],
            val_images=counts["val"],
        )
        print(f"round {number}: {len(speed.models)} models measured")
        relative = []
        for recipe, its, (seconds, epochs) in zip(
            recipes, works, workers.train(recipes), strict=True
        ):
            predicted = its.seconds - TRIAL_SECONDS  # which is around the training, in a search
            relative.append(predicted / seconds - 1)
            model = recipe.model
            name = "convnet"
            if isinstance(model, Pretrained):
                name = f"{model.name} {model.unfreeze_depth}"
            print(
                f"  {name:16} batch {recipe.batch_size} {recipe.augment.mode:6}"
                f" predicted {predicted:6.2f} took {seconds:6.2f}"
                f" (wall time of epochs {epochs:6.2f}) {relative[-1]:+.0%}",
                flush=True,
            )
        print(f"  median of the error {median(map(abs, relative)):.1%}", flush=True)
        errors += relative
    workers.end()
    print(f"all {len(errors)}: median of the error {median(map(abs, errors)):.1%}")


if __name__ == "__main__":
    work() if sys.argv[1:2] == ["--work"] else main()
