#!/usr/bin/env python3
"""A LoRA that is merged while a model is loaded gives the bits of a file that was merged by hand."""
import json
import math
import pathlib
import struct

import checkpoint_files as files
import job
import program
from checkpoint_files import Tensor

CASE = program.CHECKPOINT  # bf16, with sparse blocks; names begin with "rwkv."
PLAIN = pathlib.Path(__file__).resolve().parents[1] / "golden/data/d/model.pth"
TARGETS = ("rwkv.blocks.0.att.receptance", "rwkv.blocks.3.ffn.key", "rwkv.blocks.2.ffn.value", "moba.1.att.output", "rwkv.head")
RANK = 3


def numbers(n_rows, n_columns, seed):
    """Of few bits, so that sums of their products are exact."""
    return [[((5 * row + 3 * column + row * column + seed) % 7 - 3) / 4 for column in range(n_columns)] for row in range(n_rows)]


def matrix(rows, dtype="F32"):
    values = [value for row in rows for value in row]
    return Tensor("F32", [len(rows), len(rows[0])], struct.pack(f"<{len(values)}f", *values)).to(dtype)


def factors(shape, seed):
    """A (rank, n_in) and B (n_out, rank)."""
    return numbers(RANK, shape[1], seed), numbers(shape[0], RANK, seed + 1)


def lora(tensors, targets=TARGETS, first=".lora_A", second=".lora_B", dtype="F32", transposes=False, prefix=""):
    result = {}
    for seed, target in enumerate(targets):
        a, b = factors(tensors[target + ".weight"].shape, seed)
        a = matrix(a, dtype)
        result[prefix + target + first] = a.transposed() if transposes else a
        result[prefix + target + second] = matrix(b, dtype)
    return result


def rounded(values, dtype):
    """As f32, then once to the dtype."""
    content = struct.pack(f"<{len(values)}f", *values)
    if dtype == "F32":
        return content
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *struct.unpack(f"<{len(values)}f", content))
    bits = struct.unpack(f"<{len(values)}I", content)
    return struct.pack(f"<{len(bits)}H", *((each + 0x7fff + (each >> 16 & 1)) >> 16 for each in bits))


def merged(tensors, scale, targets=TARGETS):
    result = dict(tensors)
    for seed, target in enumerate(targets):
        name = target + ".weight"
        tensor = tensors[name]
        a, b = factors(tensor.shape, seed)
        columns = list(zip(*a))
        products = [sum(x * y for x, y in zip(row, column)) for row in b for column in columns]
        values = [value + scale * product for value, product in zip(tensor.values, products)]
        result[name] = Tensor(tensor.dtype, tensor.shape, rounded(values, tensor.dtype))
    return result


class Lora(job.JobTest):
    def setUp(self):
        super().setUp()
        self.tensors = files.read_pth(CASE)
        self.tokens = self.file("tokens", "10 20 30 40 50 60 70 80 90")

    def command(self, model, *options):
        return ["logits", "--model", model, "--tokens", self.tokens, "--chunk-size", 4, "--top-k", 2, "--threads", 1, "--hash", *options]

    def hash_of(self, model, *options):
        return self.output(*self.command(model, *options))

    def merged_hash(self, scale, *options, tensors=None, targets=TARGETS):
        tensors = self.tensors if tensors is None else tensors
        return self.hash_of(self.file("merged.safetensors", files.safetensors(merged(tensors, scale, targets))), *options)

    def peft(self, name="peft", targets=TARGETS, tensors=None, **config):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        parts = lora(self.tensors if tensors is None else tensors, targets, ".lora_A.weight", ".lora_B.weight", prefix="base_model.model.")
        (folder / "adapter_model.safetensors").write_bytes(files.safetensors(parts))
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "use_dora": False,
                                                                "bias": "none", "alpha_pattern": {}, **config}))
        return folder

    def test_dtypes_and_grids(self):
        for dtype in ("BF16", "F32", "F16"):
            tensors = self.tensors if dtype == "BF16" else {name: each.to(dtype) for name, each in self.tensors.items()}
            model = self.file("model.safetensors", files.safetensors(tensors))
            adapter = self.file("lora.pth", files.pth(lora(tensors, dtype="F16")))
            want = self.merged_hash(0.75, tensors=tensors)
            with self.subTest(dtype=dtype):
                self.assertEqual(self.hash_of(model, "--lora", f"{adapter}=0.75"), want)
                self.assertNotEqual(self.hash_of(model), want)
                for stages, shards in ((1, 2), (2, 1)) if dtype == "BF16" else ():
                    done = self.run_ranks(2, *self.command(model, "--lora", f"{adapter}=0.75", "--stages", stages, "--shards", shards))
                    self.assertEqual((done.returncode, done.stdout), (0, want), done.stderr)
                self.assertEqual(self.hash_of(model, "--lora", f"{adapter}=0.75", "--weights", "int8"),
                                 self.hash_of(self.folder / "merged.safetensors", "--weights", "int8"))

    def test_forms(self):
        want = self.merged_hash(2)
        for name, content in {"a.pth": files.pth(lora(self.tensors)), "a.st": files.safetensors(lora(self.tensors)),
                              "b=1.st": files.safetensors(lora(self.tensors, first=".lora.0", second=".lora.1", transposes=True)),
                              "without prefix": files.pth({each.removeprefix("rwkv."): tensor
                                                           for each, tensor in lora(self.tensors).items()})}.items():
            with self.subTest(name=name):
                self.assertEqual(self.hash_of(CASE, "--lora", f"{self.file(name, content)}=2"), want)
        self.assertEqual(self.hash_of(CASE, "--lora", self.folder / "a.pth"), self.merged_hash(1))
        folder = self.peft()
        self.assertEqual(self.hash_of(CASE, "--lora", folder), want)
        self.assertEqual(self.hash_of(CASE, "--lora", folder / "adapter_model.safetensors"), want)
        self.assertEqual(self.hash_of(CASE, "--lora", f"{folder}=0.5"), self.merged_hash(1))
        self.peft(use_rslora=True, lora_alpha=math.sqrt(RANK) * 4)
        self.assertEqual(self.hash_of(CASE, "--lora", folder), self.merged_hash(4))

    def test_names_of_other_programs(self):
        tensors = files.read_pth(PLAIN)
        model = self.file("fla.safetensors", files.safetensors(files.fla(tensors)))
        parts = lora(tensors, ("blocks.1.att.receptance",), ".lora_A.weight", ".lora_B.weight", prefix="base_model.model.")
        parts = {name.replace("blocks.1.att.receptance", "model.layers.1.attn.r_proj"): each for name, each in parts.items()}
        folder = self.peft()
        (folder / "adapter_model.safetensors").write_bytes(files.safetensors(parts))
        self.assertEqual(self.hash_of(model, "--lora", folder), self.merged_hash(2, tensors=tensors, targets=("blocks.1.att.receptance",)))

    def test_it_is_another_model(self):
        adapter = self.file("lora.pth", files.pth(lora(self.tensors)))
        listing = json.loads(self.output("inspect", "--model", CASE, "--lora", f"{adapter}=2", "--json"))
        self.assertEqual(listing["lora"], {"path": str(adapter), "scale": 2.0, "matrices": len(TARGETS)})
        self.assertNotIn("lora", json.loads(self.output("inspect", "--model", CASE, "--json")))
        context, text = self.folder / "c.ctx", self.file("text", "The grass is green.")
        read = ["read", "--model", CASE, "--tokenizer", "bytes", "--file", text, "--save", context, "--threads", 1]
        self.output(*read, "--lora", f"{adapter}=2")
        for options in ((), ("--lora", adapter)):
            self.assert_refused([*read, *options], str(context), "checkpoint")
        out = self.folder / "out.jsonl"
        prompts = self.file("prompts.jsonl", json.dumps({"prompt": "The grass", "n": 4, "temperature": 0}) + "\n")
        many = ["generate", "--model", CASE, "--tokenizer", "bytes", "--prompts", prompts, "--out", out, "--threads", 1]
        self.output(*many, "--lora", adapter)
        self.output(*many, "--lora", self.file("same.st", files.safetensors(lora(self.tensors))))  # nothing is left to do
        self.assert_refused(many, str(out))
        self.assert_refused([*many[:-4], "--out", adapter, "--lora", adapter], "--out", "--lora")

    def test_what_is_refused(self):
        good = lora(self.tensors)
        a, b = "moba.1.att.output.lora_A", "moba.1.att.output.lora_B"
        extra = matrix([[1.0]])
        for tensors, parts in (({name: each for name, each in good.items() if name != b}, ("moba.1.att.output", "no B")),
                               ({name: each for name, each in good.items() if name != a}, ("moba.1.att.output", "no A")),
                               ({**good, b: matrix(numbers(128, 2, 0))}, ("moba.1.att.output", "rank")),
                               ({**good, b: matrix(numbers(64, RANK, 0))}, ("moba.1.att.output", "shape [64, 128], found [128, 128]")),
                               ({**good, b: good[b].reshaped(128 * RANK)}, (b, "expected a matrix")),
                               ({**good, "moba.7.att.key.lora_A": good[a], "moba.7.att.key.lora_B": good[b]}, ("moba.7.att.key",)),
                               ({**good, "rwkv.emb.lora_A": good[a], "rwkv.emb.lora_B": good[b]}, ("emb.weight",)),
                               ({**good, "rwkv.blocks.0.ln1.lora_A": good[a], "rwkv.blocks.0.ln1.lora_B": good[b]}, ("blocks.0.ln1",)),
                               ({**good, "blocks.0.att.receptance.lora_A": good["rwkv.blocks.0.att.receptance.lora_A"],
                                 "blocks.0.att.receptance.lora_B": good["rwkv.blocks.0.att.receptance.lora_B"]}, ("two LoRAs",)),
                               ({**good, "rwkv.blocks.0.att.w1.lora_A": good[a], "rwkv.blocks.0.att.w1.lora_B": good[b]}, ("blocks.0.att.w1",)),
                               ({**good, a: matrix([[math.nan] * 128] * RANK)}, ("moba.1.att.output", "not finite")),
                               ({**good, "blocks.0.att.key.disha": extra}, ("blocks.0.att.key.disha", "DiSHA")),
                               ({**good, "blocks.0.att.key.lora_magnitude_vector": extra}, ("lora_magnitude_vector", "DoRA")),
                               ({**good, "base_model.model.emb.lora_embedding_A": extra}, ("lora_embedding_A", "embedding")),
                               ({**good, "blocks.0.att.x_r": extra}, ("blocks.0.att.x_r", "whole tensors")),
                               (self.tensors, ("whole tensors",))):
            for write in (files.pth, files.safetensors):
                with self.subTest(parts=parts):
                    adapter = self.file("lora", write(tensors))
                    self.assert_refused(self.command(CASE, "--lora", adapter), str(adapter), *parts)
        adapter = self.file("lora", files.pth(good))
        whole = "moba.1.att.output.weight"
        factored = {name: each for name, each in self.tensors.items() if name != whole}
        factored |= {f"{whole}_a": matrix(numbers(RANK, 128, 0)), f"{whole}_b": matrix(numbers(128, RANK, 1))}
        self.assert_refused(self.command(self.file("factored.safetensors", files.safetensors(factored)), "--lora", adapter),
                            whole, "two factors of low rank")
        self.assert_refused(self.command("preset:rwkv-x-narrow", "--lora", adapter), str(adapter), "random weights")
        self.assert_refused(self.command(CASE, "--lora", f"{adapter}=1e9"), "--lora")
        self.assert_refused(self.command(CASE, "--lora", f"{adapter}=two"), f"{adapter}=two")
        self.assert_refused(self.command(CASE, "--lora", CASE.parent), "adapter_model.safetensors")

    def test_what_is_refused_of_peft(self):
        for entry, value in {"peft_type": "MISS", "use_dora": True, "fan_in_fan_out": True, "alpha_pattern": {"key": 3},
                             "modules_to_save": ["emb"], "lora_alpha": "6", "init_lora_weights": "pissa", "r": 16, "use_rslora": "no", "alora_invocation_tokens": [1]}.items():
            folder = self.peft(**{entry: value})
            with self.subTest(entry=entry):
                self.assert_refused(self.command(CASE, "--lora", folder), str(folder / "adapter_config.json"), entry)
        (folder / "adapter_config.json").write_text("[]")
        self.assert_refused(self.command(CASE, "--lora", folder), str(folder / "adapter_config.json"), "object")
        (folder / "adapter_config.json").unlink()
        self.assert_refused(self.command(CASE, "--lora", folder), str(folder / "adapter_config.json"))


if __name__ == "__main__":
    program.main()
