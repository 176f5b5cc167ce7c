#!/usr/bin/env python3
"""Makes a golden folder (random checkpoints, token ids, expected logits, manifest.json) from its cases.json.

    make_golden.py FOLDER          needs torch, only to write genuine torch.save() files

The expected logits come from oracle.py in float64, out of the weights as stored in the file.
"""
import collections
import json
import os
import shutil
import sys

import numpy as np
import torch

import oracle

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def shapes(case):
    """Ordered {key: (shape, kind)} as the training code's state_dict() has them; kind selects the random law."""
    C, V, N = case["C"], case["vocab"], 64
    rank = case["ranks"]
    vec, out = (1, 1, C), collections.OrderedDict()
    pre = "rwkv." if case["prefix"] else ""

    def norm(name, kind="ln"):
        out[name + ".weight"], out[name + ".bias"] = ((C,), kind), ((C,), "bias")

    def channel_mix(name):
        out[name + ".x_k"] = (vec, "mix")
        out[name + ".key.weight"], out[name + ".value.weight"] = ((4 * C, C), "wide"), ((C, 4 * C), "wide")

    out[pre + "emb.weight"] = ((V, C), "wide")
    for i in range(case["n_rwkv"]):
        b = f"{pre}blocks.{i}"
        for ln in (["ln0"] if i == 0 else []) + ["ln1", "ln2"]:
            norm(f"{b}.{ln}")
        a = b + ".att."
        for c in "rwkvag":
            out[a + "x_" + c] = (vec, "mix")
        for c in "wav" if i else "wa":
            out[a + c + "1"], out[a + c + "2"] = ((C, rank[c]), "wide"), ((rank[c], C), "rank")
            out[a + c + "0"] = (vec, c + "0")
        out[a + "g1"], out[a + "g2"] = ((C, rank["g"]), "wide"), ((rank["g"], C), "rank")
        out[a + "k_k"], out[a + "k_a"], out[a + "r_k"] = (vec, "k_k"), (vec, "k_a"), ((C // N, N), "r_k")
        for m in ("receptance", "key", "value", "output"):
            out[a + m + ".weight"] = ((C, C), "wide")
        norm(a + "ln_x", "ln_x")
        channel_mix(b + ".ffn")
    norm(pre + "ln_out")
    out[pre + "head.weight"] = ((V, C), "wide")
    for j in range(case["n_moba"]):
        b = f"moba.{j}"
        norm(b + ".ln1", "ln_sharp")
        norm(b + ".ln2")
        for m in ("receptance", "key", "value", "output"):
            out[f"{b}.att.{m}.weight"] = ((C, C), "wide")
        channel_mix(b + ".ffn")
    return out


def draw(rng, kind, size, C):
    n, u = lambda s, m=0.0: m + s * rng.standard_normal(size), lambda lo, hi: rng.uniform(lo, hi, size)
    return {"wide": lambda: n(0.75 / C ** 0.5), "rank": lambda: n(2 / 32 ** 0.5), "mix": lambda: u(0, 1),
            "ln": lambda: u(0.7, 1.3), "ln_sharp": lambda: u(1.2, 2.0), "ln_x": lambda: u(0.5, 1.2),
            "bias": lambda: n(0.15), "w0": lambda: u(-6, 2), "a0": lambda: n(1.0), "v0": lambda: n(1.0, 0.5),
            "k_k": lambda: u(0.6, 1.1), "k_a": lambda: u(0.6, 1.2), "r_k": lambda: n(0.2)}[kind]()


def checkpoint(case, path):
    """storage 'separate': a storage for every tensor. 'shared': one storage for all, the tensors being views of it
    (as of parameters that a trainer keeps in a flat buffer); here big matrices also overlap, to keep files small."""
    rng, C, dtype, layout = np.random.default_rng(case["seed"]), case["C"], DTYPES[case["dtype"]], shapes(case)
    tensor = lambda a: torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(dtype)
    if case["storage"] == "separate":
        state = {k: tensor(draw(rng, kind, shape, C)) for k, (shape, kind) in layout.items()}
    else:
        biggest = collections.Counter()
        for shape, kind in layout.values():
            if kind in ("wide", "rank"):
                biggest[kind] = max(biggest[kind], int(np.prod(shape)))
        pools = {kind: size + size // 3 for kind, size in biggest.items()}
        parts, place, at = [], {}, 0
        for kind, size in pools.items():
            parts.append(draw(rng, kind, size, C))
            pools[kind], at = (at, size), at + size
        for k, (shape, kind) in layout.items():
            size = int(np.prod(shape))
            if kind in pools:
                start, total = pools[kind]
                place[k] = start + int(rng.integers(0, total - size + 1))
            else:
                parts.append(draw(rng, kind, size, C))
                place[k], at = at, at + size
        flat = tensor(np.concatenate(parts))
        state = {k: flat[place[k]:place[k] + int(np.prod(shape))].view(shape) for k, (shape, _) in layout.items()}
    if case["container"] == "state_dict":      # what torch.save(module.state_dict()) pickles
        state = collections.OrderedDict(state)
        state._metadata = collections.OrderedDict([("", {"version": 1}), ("rwkv", {"version": 1})])
    torch.save(state, path)
    return state


def make_tokens(case):
    """Ids that change subject now and then, so that chunks of the cache differ."""
    rng, V, B, ids = np.random.default_rng(case["seed"] + 1000), case["vocab"], case["config"]["chunk"], []
    subjects = [rng.choice(V, V // 5, replace=False) for _ in range(7)]
    while len(ids) < case["T"]:
        ids += list(rng.choice(subjects[rng.integers(7)], rng.integers(B // 2, 2 * B)))
    return np.array(ids[:case["T"]], np.int32)


def main(folder):
    spec, manifest = json.load(open(f"{folder}/cases.json")), {"format": 1, "tolerance": {
        "measure": "max over positions and vocabulary of |logit - expected|",
        "float32": "the value given with each run is for float32 arithmetic on the stored weights"}, "cases": []}
    for case in spec["cases"]:
        name = case["name"]
        shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
        os.makedirs(f"{folder}/{name}")
        state = checkpoint(case, f"{folder}/{name}/model.pth")
        weights = oracle.load_checkpoint(f"{folder}/{name}/model.pth")
        for key, t in state.items():           # the oracle's own reader agrees with torch
            assert np.array_equal(weights[key[5:] if key.startswith("rwkv.") else key], t.double().numpy()), key
        tokens = make_tokens(case)
        np.save(f"{folder}/{name}/tokens.npy", tokens)
        base, runs, saved = {**oracle.dataclasses.asdict(oracle.Config()), "kv_max": 0, **case["config"]}, [], {}
        for run in case["runs"]:
            config = {**base, **run.get("config", {})}
            calls = oracle.parse_calls(run["calls"], len(tokens))
            assert sum(calls) <= len(tokens), (name, run["name"])
            oracle.MARGIN.update(gate=np.inf, evict=np.inf)
            model = oracle.Model(weights, oracle.Config(**config))
            logits = model.run(tokens, calls, run["mode"])
            file, positions = f"{name}/{run.get('logits', run['name'])}.npy", case["positions"]
            positions = [p for p in positions if p < sum(calls)]
            if file in saved:                  # a second split of the same computation
                assert np.abs(saved[file] - logits).max() < 1e-9, (name, run["name"])
            else:
                saved[file] = logits
                np.save(f"{folder}/{file}", logits[positions].astype(np.float32))
            finite = lambda x: None if np.isinf(x) else float(f"{x:.2g}")
            runs.append({"name": run["name"], "mode": run["mode"], "config": config, "calls": calls,
                         "positions": positions, "logits": file, "tolerance": spec["tolerance"],
                         "logits_std": float(f"{logits.std():.3g}"), "smallest_gate_margin": finite(oracle.MARGIN["gate"]),
                         "smallest_evict_margin": finite(oracle.MARGIN["evict"])})
            print(name, runs[-1]["name"], "std", runs[-1]["logits_std"], "margins", oracle.MARGIN)
        manifest["cases"].append({
            "name": name, "about": case["about"], "checkpoint": f"{name}/model.pth", "dtype": case["dtype"],
            "storage": case["storage"], "container": case["container"], "n_rwkv": case["n_rwkv"], "n_moba": case["n_moba"],
            "n_embd": case["C"], "n_head": case["C"] // 64, "vocab": case["vocab"], "ranks": case["ranks"],
            "blocks": oracle.block_order(case["n_rwkv"], case["n_moba"]), "tokens": f"{name}/tokens.npy", "runs": runs})
    with open(f"{folder}/manifest.json", "w") as f:
        json.dump(manifest, f, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
