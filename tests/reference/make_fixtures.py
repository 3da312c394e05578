#!/usr/bin/env python3
"""Writes the fixtures of the tests anew, with the pinned versions of the reference.

Every other module of this folder that has a dictionary FIXTURES = {name: function(folder)} adds to
them; a function writes its files below `folder`, the fixtures' root.

    make_fixtures.py                      all
    make_fixtures.py --only checkpoint    those whose name begins so
    make_fixtures.py --check              into a temporary folder; says what differs, and apart from
                                          it what is float rounding, as on another CPU; fails if
                                          anything but rounding differs
"""

import argparse
import importlib
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE / "fixtures"
ROUNDING = 1e-5  # of a tensor's largest magnitude


def check_versions():
    from common import VERSIONS

    wrong = []
    for package, wanted in VERSIONS.items():
        try:
            found = version(package).split("+")[0]
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            wrong.append(f"{package}: found {found}, expected {wanted}")
    try:
        found = version("torchvision")
        wrong.append(f"torchvision: found {found}, expected none (it changes the image backend)")
    except PackageNotFoundError:
        pass
    if wrong:
        sys.exit("The fixtures are made with fixed versions:\n  " + "\n  ".join(wrong))


def discover(only):
    found = {}
    for path in sorted(HERE.glob("*.py")):
        if "FIXTURES" not in path.read_text() or path.name == Path(__file__).name:
            continue
        for name, function in importlib.import_module(path.stem).FIXTURES.items():
            if name in found:
                sys.exit(f"{path.name}: the fixture {name} exists twice")
            found[name] = function
    return {name: function for name, function in found.items() if name.startswith(only or "")}


def apart(old, new):
    """The largest difference of two tensors, and its share of the largest magnitude if both are of
    floats and agree in what is not finite, else None; None if nothing differs."""
    import torch

    other = (old != new) & ~((old != old) & (new != new))  # two that are not numbers are the same
    if not other.any():
        return None
    finite = old.isfinite()
    largest = (old.double() - new.double())[other].abs().max().item()
    if not old.is_floating_point() or (other & ~(finite & new.isfinite())).any():
        return largest, None
    return largest, largest / old[finite].double().abs().max().clamp(min=torch.finfo().tiny).item()


def differences(left, right):
    """What differs between two files of the same name, one line each, and {tensor: share} of what
    is only rounding."""
    if left.read_bytes() == right.read_bytes():
        return [], {}
    if left.suffix != ".safetensors":
        return ["the bytes differ"], {}
    from safetensors import safe_open
    from safetensors.torch import load_file

    old, new = load_file(left), load_file(right)
    lines = [f"{name}: no longer made" for name in sorted(old.keys() - new.keys())]
    lines += [f"{name}: new" for name in sorted(new.keys() - old.keys())]
    rounding = {}
    for name in sorted(old.keys() & new.keys()):
        a, b = old[name], new[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            lines.append(f"{name}: {a.dtype} {list(a.shape)} became {b.dtype} {list(b.shape)}")
        elif found := apart(a, b):
            largest, share = found
            if share is not None and share < ROUNDING:
                rounding[name] = share
            else:
                of = "" if share is None else f", {share:.2g} of its largest magnitude"
                lines.append(f"{name}: differs by up to {largest:.3g}{of}")
    with safe_open(left, "pt") as a, safe_open(right, "pt") as b:
        if a.metadata() != b.metadata():
            lines.append(f"metadata: {a.metadata()} became {b.metadata()}")
    return lines if lines or rounding else ["only the order of its parts differs"], rounding


def check(fixtures, complete):
    with tempfile.TemporaryDirectory() as temporary:
        new_root = Path(temporary)
        for name, function in fixtures.items():
            print(name, flush=True)
            function(new_root)
        made = {path.relative_to(new_root) for path in new_root.rglob("*") if path.is_file()}
        kept = {path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()}
        report = [f"{path}: missing here" for path in sorted(made - kept)]
        for family in ("instructblip", "blip_2", "instructblipvideo"):  # by legacy_instructblip.py
            kept.discard(Path(f"{family}_legacy.safetensors"))
        if complete:
            report += [f"{path}: made by no function" for path in sorted(kept - made)]
        rounded = []
        for path in sorted(made & kept):
            lines, rounding = differences(ROOT / path, new_root / path)
            report += [f"{path}: {line}" for line in lines]
            if rounding:
                worst = max(rounding, key=rounding.get)
                share = f"{rounding[worst]:.2g}"
                rounded.append(f"{path}: {share} (tensors: {len(rounding)}, most in {worst})")
    if rounded:
        print(f"\nfloat rounding, below {ROUNDING:.0e} of a tensor's largest magnitude:")
        print("\n".join(f"  {line}" for line in rounded))
    if report:
        print("\ndifferences:\n  " + "\n  ".join(report))
        return 1
    print("\nnothing else differs" if rounded else "\nnothing differs")
    return 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="NAME", help="only fixtures whose name begins with NAME")
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    check_versions()
    fixtures = discover(arguments.only)
    if not fixtures:
        sys.exit(f"no fixture begins with {arguments.only}")
    if arguments.check:
        return check(fixtures, complete=not arguments.only)
    for name, function in fixtures.items():
        print(name, flush=True)
        function(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
