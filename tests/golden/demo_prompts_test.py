#!/usr/bin/env python3
"""Checks that the demo model continues its sample prompts as expected (configs/demo/prompts.jsonl).

    demo_prompts_test.py PROGRAM [--longest TOKENS]

--longest leaves out prompts of more tokens, for builds that are slow; how many is said.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

PROGRAM_SECONDS = 600  # nothing may hang


def fault_of(program, model, sample):
    """None, or a sentence that says how the program's continuation differs."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as prompt:
        prompt.write(sample["prompt"].encode())
        prompt.flush()
        command = [program, "generate", "--model", str(model), "--prompt-file", prompt.name,
                   "-n", str(len(sample["expected_tokens"])), "--temperature", "0",
                   "--weights", "f32", "--kv", "f32"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=PROGRAM_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"still running after {PROGRAM_SECONDS} s"
    if done.returncode != 0:
        return f"exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()[-2000:]}"
    expected = sample["expected"].encode().removesuffix(b"\0")  # the end token ends the text and is not written
    if done.stdout != expected:
        return f"continued with {done.stdout!r}, expected {expected!r}"
    return None


def main():
    model = pathlib.Path(__file__).resolve().parents[2] / "configs/demo"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--longest", type=int, default=sys.maxsize, metavar="TOKENS")
    args = parser.parse_args()

    samples = [json.loads(line) for line in (model / "prompts.jsonl").read_text().splitlines()]
    chosen = [sample for sample in samples if sample["n_prompt"] <= args.longest]
    faults = 0
    for sample in chosen:
        fault = fault_of(args.program, model, sample)
        faults += fault is not None
        print(f"{sample['id']}: {fault or 'as expected'}", flush=True)
    print(f"{len(chosen)} prompts, {len(samples) - len(chosen)} left out as longer than asked, {faults} faults")
    return 0 if chosen and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
