"""Trains the demo model, stage after stage, from nothing or from where the last run stopped.

    python examples/demo_model/train.py --state DIR
    python examples/demo_model/train.py --state DIR --from FOLDER [--decoder opt]

    vision     the vision tower alone learns to classify what each patch shows (--tower FOLDER: from a checkpoint's weights)
    language   Q-Former and language model answer questions about oracle features (at the same time, on another core)
    weld       the two are joined by least squares
    joint      everything learns together on pictures and questions, in several processes that average their weights

With --from, a checkpoint folder as export.py writes it replaces the first three, and one stage comes before the last:

    heads      what the folder does not hold is trained while the rest is frozen: the training heads and, where the decoder
               is another than the folder's, the language model. With such a decoder the vision tower stays frozen later, too.

And one stage is run on its own, with --from FOLDER --stage retrieval:

    retrieval  a BLIP-2 with the folder's frozen vision tower and its Q-Former learns to match pictures and texts

Each stage keeps its state and a log (JSON lines) in DIR. Ask for more steps than a finished stage had, and it goes on
from where its rate began to fall.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as distributed

from model import DECODERS

# In all, and of these with a falling rate.
STEPS = {"vision": (12000, 3000), "language": (12000, 3000), "heads": (300, 100), "joint": (12000, 4000),
         "retrieval": (3000, 1000)}
LESSONS = {"joint": 3, "continued": 8}  # first part of the seeds


def run_stage(name: str, arguments, device: str) -> None:
    import language_stage
    import retrieval_stage
    import vision_stage
    from takeover import take_over, take_over_tower
    from trainer import Trainer

    state, (steps, fall) = arguments.state, getattr(arguments, f"{name}_steps")
    if name == "vision":
        module, make, rate, check = vision_stage.VisionStage(), vision_stage.make_batch, 1.5e-3, vision_stage.evaluate
        if arguments.tower:
            take_over_tower(module, arguments.tower)
    elif name == "language":
        module, rate, check = language_stage.QuestionStage(pictures=False), 2e-3, language_stage.evaluate
        make = language_stage.language_batch
    elif name == "retrieval":
        module, rate, check = retrieval_stage.RetrievalStage(), 1e-3, retrieval_stage.evaluate
        retrieval_stage.start_from(module.net, arguments.origin)
        kept = state / "features.bf16"
        retrieval_stage.keep_features(module.net.to(device), kept, arguments.scenes)
        make = functools.partial(retrieval_stage.retrieval_batch, path=kept, scenes=arguments.scenes)
    else:
        module = language_stage.QuestionStage(pictures=True, decoder=arguments.decoder, freeze_tower=arguments.freeze_tower)
        rate, check = 1e-3, language_stage.evaluate
        lessons = LESSONS["continued" if arguments.origin else "joint"]
        make = functools.partial(language_stage.joint_batch, decoder=arguments.decoder, lessons=lessons)
        if name == "heads":
            take_over(module, arguments.origin)
        else:
            start = state / ("heads.pt" if arguments.origin else "welded.pt")
            module.load_state_dict(torch.load(start, map_location="cpu", weights_only=True)["module"])
    Trainer(name, module.to(device), make, state, rate, steps, fall, evaluate=check, device=device,
            evaluate_every=500 if name in ("vision", "language") else 250,
            average=0.99 if name in ("joint", "retrieval") else 0.0).run()


def start(arguments, name: str, rank: int = 0, ranks: int = 1) -> subprocess.Popen:
    command = [sys.executable, __file__, "--state", str(arguments.state), "--stage", name,
               "--rank", str(rank), "--ranks", str(ranks),
               "--meeting", f"{arguments.state}/meeting.{name}.{os.getpid()}", "--decoder", arguments.decoder,
               "--scenes", str(arguments.scenes)]
    for option, folder in (("--from", arguments.origin), ("--tower", arguments.tower)):
        if folder:
            command += [option, str(folder)]
    if arguments.freeze_tower:
        command.append("--freeze-tower")
    for stage in STEPS:
        command += [f"--{stage}-steps", *map(str, getattr(arguments, f"{stage}_steps"))]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def wait_for(processes: list[subprocess.Popen]) -> None:
    if any([process.wait() for process in processes]):
        sys.exit("a stage failed; its message is above")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder for states and logs, outside the repository")
    parser.add_argument("--from", dest="origin", type=Path, metavar="FOLDER", help="a checkpoint folder to start from")
    parser.add_argument("--tower", type=Path, metavar="FOLDER", help="a checkpoint folder whose vision tower the first stage "
                        "starts from, instead of from nothing")
    parser.add_argument("--decoder", choices=DECODERS, default="llama", help="another than llama needs --from")
    parser.add_argument("--freeze-tower", action="store_true", help="with --from: the vision tower stays as it is")
    for name, numbers in STEPS.items():
        parser.add_argument(f"--{name}-steps", type=int, nargs=2, default=numbers, metavar=("ALL", "FALLING"))
    parser.add_argument("--scenes", type=int, default=32768, help="so many pictures the retrieval stage learns from, again and "
                        "again; the tower's outputs for them are kept in a file of 17 kB each")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="of the joint stage, without a GPU")
    parser.add_argument("--stage", choices=["vision", "language", "weld", "heads", "joint", "retrieval"], help="only this one")
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--meeting", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decoder != "llama" and not arguments.origin:
        parser.error("--decoder opt and t5 learn on the vision tower of a trained model: say --from FOLDER")
    if arguments.stage == "retrieval" and not arguments.origin:
        parser.error("--stage retrieval learns on the vision tower and the Q-Former of a trained model: say --from FOLDER")
    for option, folder in (("--from", arguments.origin), ("--tower", arguments.tower)):
        if folder and not (folder / "config.json").exists():
            parser.error(f"{option} {folder}: no config.json there; say a folder that export.py wrote")
    arguments.state.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    if arguments.ranks:
        torch.set_num_threads(1)
        torch.manual_seed(1 + arguments.rank)
        if arguments.ranks > 1:
            distributed.init_process_group("gloo", init_method=f"file://{arguments.meeting}",
                                           rank=arguments.rank, world_size=arguments.ranks)
        run_stage(arguments.stage, arguments, device)
        return

    ranks = 1 if device == "cuda" else arguments.processes
    wanted = ["heads", "joint"] if arguments.origin else ["vision", "language", "weld", "joint"]
    if arguments.stage:
        wanted = [arguments.stage]
    first = [name for name in ("vision", "language") if name in wanted]
    if device == "cuda":
        for name in first:
            wait_for([start(arguments, name)])
    else:
        wait_for([start(arguments, name) for name in first])
    if "weld" in wanted and (arguments.stage or not (arguments.state / "welded.pt").exists()):
        torch.set_num_threads(1)
        from weld import weld

        weld(arguments.state)
    for name in ("heads", "joint"):
        if name in wanted:
            wait_for([start(arguments, name, rank, ranks) for rank in range(ranks)])
    if "retrieval" in wanted:
        wait_for([start(arguments, "retrieval", 0, 1)])


if __name__ == "__main__":
    main()
