"""Compares the speed of this library with that of other software on the same checkpoint and the same work.

    python tests/benchmarks/compare_with_peers.py --model FOLDER --image PICTURE [--vqa build/examples/vqa]

Each row is a process of its own, so that no two models are in memory at once. The rows run in turn, several times, and
the best time of each part is printed, because other programs on the machine only make a part slower. A row that is not
installed is left out. A random checkpoint of a real shape serves, too (tests/reference/make_large_checkpoint.py).

    picture   the vision tower; OpenVINO and ONNX Runtime get it from transformers' model
    prompt    Q-Former, projection and the language model on the prompt, up to the first token; llama.cpp and
              CTranslate2, which know the language model alone, read as many ids
    token     one step of greedy search
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNITS = {"ms": 1e-3, "s": 1.0}
# The runs of a row per round: of this library, a program each; of others, in one process.
TIMES = 5


def best_of(runs: list[dict[str, float]]) -> dict[str, float]:
    return {part: min(run[part] for run in runs) for part in runs[0]}


def seconds(text: str, pattern: str) -> float:
    match = re.search(pattern + r"([\d.]+) (ms|s)\b", text)
    if match is None:
        raise RuntimeError(f"no time in the output:\n{text}")
    return float(match[1]) * UNITS[match[2]]


def instructblip_cpp(arguments, *flags: str, level: str = "") -> dict[str, float]:
    command = [arguments.vqa, "--model", arguments.model, "--image", arguments.image, "--dtype", arguments.dtype,
               *flags, "--threads", str(arguments.threads), "--timings",
               "--min-new-tokens", str(arguments.tokens), "--max-new-tokens", str(arguments.tokens), arguments.prompt]
    environment = {**os.environ, "INSTRUCTBLIP_KERNELS": level}
    runs = []
    for _ in range(TIMES):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        runs.append({"picture": seconds(done.stderr, r"picture +"), "prompt": seconds(done.stderr, r"prompt +"),
                     "token": seconds(done.stderr, r"steps of ")})
    return best_of(runs)


def transformers(arguments) -> dict[str, float]:
    """What --peer transformers runs in a process of its own."""
    import torch
    from PIL import Image
    from transformers import InstructBlipForConditionalGeneration, InstructBlipProcessor

    torch.set_num_threads(arguments.threads)
    processor = InstructBlipProcessor.from_pretrained(arguments.model)
    model = InstructBlipForConditionalGeneration.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype))
    model.eval()
    inputs = processor(images=Image.open(arguments.image).convert("RGB"), text=arguments.prompt, return_tensors="pt")
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)

    times: dict[str, float] = {}
    vision_forward = model.vision_model.forward

    def timed_vision(*args, **kwargs):
        start = time.perf_counter()
        output = vision_forward(*args, **kwargs)
        times["picture"] = time.perf_counter() - start
        return output

    steps: list[float] = []

    class Clock:
        def put(self, value) -> None:
            steps.append(time.perf_counter())

        def end(self) -> None:
            pass

    model.vision_model.forward = timed_vision
    runs = []
    for _ in range(TIMES):
        with torch.inference_mode():
            start = time.perf_counter()
            model.generate(**inputs, max_new_tokens=arguments.tokens, min_new_tokens=arguments.tokens, do_sample=False,
                           num_beams=1, streamer=Clock())
        # `generate` first hands the prompt to the streamer.
        first, *rest = steps[-arguments.tokens:]
        runs.append({**times, "prompt": first - start - times["picture"], "token": (rest[-1] - first) / len(rest)})
    return best_of(runs)


def vision_model(arguments):
    """The vision tower in float32, which returns one tensor, and pixels for it."""
    import torch
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

    torch.set_num_threads(arguments.threads)
    size = InstructBlipConfig.from_pretrained(arguments.model).vision_config.image_size

    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            model = InstructBlipForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.bfloat16)
            self.tower = model.vision_model.float()

        def forward(self, pixel_values):
            return self.tower(pixel_values, return_dict=False)[0]

    return Tower().eval(), torch.randn(1, 3, size, size)


def best_time(run, times: int = TIMES) -> float:
    run()
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def openvino(arguments) -> dict[str, float]:
    """`peer_weights`: "int8 weights", or "int8", which also rounds the activations with scales from random pictures."""
    import openvino as ov

    tower, pixels = vision_model(arguments)
    model = ov.convert_model(tower, example_input=pixels)
    del tower
    if arguments.peer_weights:
        import nncf
        import numpy as np

        if arguments.peer_weights == "int8 weights":
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        else:
            pictures = nncf.Dataset([np.random.default_rng(i).standard_normal(pixels.shape, np.float32) for i in range(4)])
            model = nncf.quantize(model, pictures, subset_size=4, model_type=nncf.ModelType.TRANSFORMER)
    precision = {"float32": "f32", "bfloat16": "bf16"}[arguments.dtype]
    compiled = ov.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": arguments.threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return {"picture": best_time(lambda: request.infer([pixels.numpy()]))}


def onnxruntime(arguments) -> dict[str, float]:
    import onnxruntime as ort
    import torch

    tower, pixels = vision_model(arguments)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "vision_model.onnx")  # a Path would not get its weights in a second file
        torch.onnx.export(tower, (pixels,), file, input_names=["pixel_values"], dynamo=False)
        del tower
        options = ort.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return {"picture": best_time(lambda: session.run(None, {"pixel_values": pixels.numpy()}))}


def prompt_length(arguments) -> int:
    """Of the language model, with the queries."""
    from PIL import Image
    from transformers import InstructBlipProcessor

    processor = InstructBlipProcessor.from_pretrained(arguments.model)
    return processor(images=Image.open(arguments.image).convert("RGB"), text=arguments.prompt,
                     return_tensors="pt")["input_ids"].shape[1]


def llama_cpp(arguments) -> dict[str, float]:
    from llama_cpp import Llama
    from write_gguf import write_gguf

    ids = [5] * prompt_length(arguments)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        file = Path(folder) / "model.gguf"
        write_gguf(Path(arguments.model), file, arguments.peer_weights or arguments.dtype)
        model = Llama(str(file), n_ctx=2048, n_batch=512, n_threads=arguments.threads,
                      n_threads_batch=arguments.threads, verbose=False)

        def prompt() -> None:
            model.reset()
            model.eval(ids)

        return {"prompt": best_time(prompt), "token": best_time(lambda: model.eval([6]), TIMES * arguments.tokens)}


def ctranslate2(arguments) -> dict[str, float]:
    import torch
    from ctranslate2 import Generator
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer, InstructBlipForConditionalGeneration

    prompt = [["</s>"] * prompt_length(arguments)]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        whole = InstructBlipForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.float32)
        whole.language_model.save_pretrained(Path(folder) / "language_model")
        AutoTokenizer.from_pretrained(arguments.model).save_pretrained(Path(folder) / "language_model")
        del whole
        TransformersConverter(str(Path(folder) / "language_model")).convert(str(Path(folder) / "converted"))
        model = Generator(str(Path(folder) / "converted"), "cpu", compute_type=arguments.peer_weights or "float32",
                          intra_threads=arguments.threads)

        def generate(tokens: int) -> None:
            model.generate_batch(prompt, min_length=tokens, max_length=tokens, sampling_topk=1,
                                 include_prompt_in_result=False)

        first = best_time(lambda: generate(1))
        return {"prompt": first, "token": (best_time(lambda: generate(1 + arguments.tokens)) - first) / arguments.tokens}


PEERS = {"transformers": transformers, "openvino": openvino, "onnxruntime": onnxruntime, "llama_cpp": llama_cpp,
         "ctranslate2": ctranslate2}
# On CPUs, these multiply in float32 and in integers only.
WITHOUT_BFLOAT16 = ("onnxruntime", "ctranslate2")
# What comes nearest to a value of --weights. OpenVINO's need the package nncf.
QUANTISED = {"int8": {"llama_cpp": ["Q8_0"], "ctranslate2": ["int8_float32"], "openvino": ["int8 weights"]},
             "int4": {"llama_cpp": ["Q4_0"]},
             "w8a8": {"openvino": ["int8"]}}


def in_another_process(peer: str, *flags: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--peer", peer, *flags], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{peer} {' '.join(flags)} ended with {done.returncode}\n{done.stderr}", file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def is_installed(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--vqa", default="build/examples/vqa")
    parser.add_argument("--prompt", default="What is unusual about this image?")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", nargs="*", default=[], help="other kernel levels to run, such as avx2")
    parser.add_argument("--weights", nargs="*", default=[], choices=QUANTISED, help="quantised weights to run, too")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS, help="default: all that are installed")
    parser.add_argument("--scratch", help="folder for converted models, as large as the model (default: the system's)")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--peer-weights", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scratch:
        Path(arguments.scratch).mkdir(parents=True, exist_ok=True)
    if arguments.peer:
        print(json.dumps(PEERS[arguments.peer](arguments)))
        return

    rows = {"this library": lambda: instructblip_cpp(arguments)}
    variants = [["--activations", "bfloat16"]] if arguments.dtype == "bfloat16" else []
    variants += [["--weights", weights] for weights in arguments.weights]
    for flags in variants:
        rows[f"this library, {' '.join(flags)}"] = lambda flags=flags: instructblip_cpp(arguments, *flags)
    for level in arguments.levels:
        rows[f"this library, {level}"] = lambda level=level: instructblip_cpp(arguments, level=level)
    for peer in arguments.peers:
        if not all(map(is_installed, ("torch", "transformers", peer))):
            continue
        if peer not in WITHOUT_BFLOAT16 or arguments.dtype == "float32":
            rows[peer] = lambda peer=peer: in_another_process(peer)
        for weights in arguments.weights:
            for scheme in QUANTISED[weights].get(peer, ()):
                rows[f"{peer}, {scheme}"] = lambda peer=peer, scheme=scheme: in_another_process(
                    peer, "--peer-weights", scheme)

    best: dict[str, dict[str, float]] = {name: {} for name in rows}
    for round_ in range(arguments.rounds):
        for name, run in rows.items():
            for part, value in run().items():
                best[name][part] = min(value, best[name].get(part, value))
            print(f"round {round_ + 1}, {name}: {best[name]}", file=sys.stderr)

    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown CPU")
    print(f"\n{cpu}, {arguments.threads} threads, {arguments.dtype}, seconds, best of {arguments.rounds}\n")
    print("| | picture | prompt | token |\n| --- | --- | --- | --- |")
    for name, times in best.items():
        cells = [f"{times[part]:.3f}" if part in times else "-" for part in ("picture", "prompt", "token")]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
