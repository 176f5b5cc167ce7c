#!/usr/bin/env python3
"""The command convert: what it writes is read back to the same bits, with all the source said; what it cannot write, it leaves undone."""
import array
import json
import math
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import time

import checkpoint_files as files
import job
import program
from checkpoint_files import Tensor
from program import CHECKPOINT, MODEL

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/data"
PLAIN = GOLDEN / "d/model.pth"  # RWKV-7 in bf16
TOKENS = " ".join(str(7 * i % 250 + 1) for i in range(200))
NATIVE = files.read_pth(PLAIN)


class Convert(job.JobTest):
    def setUp(self):
        super().setUp()
        self.tokens = self.file("tokens.txt", TOKENS)
        self.target = self.folder / "out"
        self.target.mkdir()
        self.out = self.target / "m.safetensors"

    def convert(self, model, *options):
        return self.output("convert", "--model", model, "--out", self.out, *options)

    def hash_of(self, model, *options):
        return self.output("logits", "--model", model, "--tokens", self.tokens, "--hash", *options)

    def header(self):
        content = self.out.read_bytes()
        return json.loads(content[8:8 + int.from_bytes(content[:8], "little")])

    def listing(self, model):
        return json.loads(self.output("inspect", "--model", model, "--json"))

    def assert_nothing_written(self, *others):
        self.assertEqual(sorted(path.name for path in self.target.iterdir()), sorted(others))


class Contents(Convert):
    def test_every_family_gives_its_own_bits(self):
        for dtype in ("F32", "F16", "BF16"):
            native = NATIVE if dtype == "BF16" else {name: tensor.to(dtype) for name, tensor in NATIVE.items()}
            contents = {"m.safetensors": files.safetensors(native), "m.st": files.safetensors(files.web_rwkv(native)),
                        "t.safetensors": files.safetensors(files.transformers(native)),
                        "f.safetensors": files.safetensors(files.fla(native, stacked=True)),
                        "m.gguf": files.gguf(files.gguf_tensors(native), files.gguf_metadata(native))}
            for name, content in contents.items():
                with self.subTest(dtype=dtype, name=name):
                    model = self.file(name, content)
                    self.convert(model, "--overwrite")
                    self.assertEqual(self.hash_of(self.out), self.hash_of(model))
                    listing = self.listing(self.out)
                    self.assertEqual((listing["family"], listing["dtype"]), ("native", dtype.lower()))
                    self.assertEqual(listing["parameters"], self.listing(model)["parameters"])
                    for tensor, entry in self.header().items():
                        if tensor != "__metadata__" and not files.is_unused(tensor):
                            self.assertEqual(entry["shape"], NATIVE[tensor].shape, tensor)
        self.assert_nothing_written("m.safetensors")  # the defaults need no config.json

    def test_numbers_in_blocks_become_f32(self):
        packed = files.gguf_tensors({name: tensor.to("F32") for name, tensor in NATIVE.items()})
        packed["output.weight"] = files.q8_0(packed["output.weight"])[0]
        packed["blk.1.time_mix_g1.weight"] = files.q8_0(packed["blk.1.time_mix_g1.weight"])[0]  # stored the other way round
        model = self.file("m.gguf", files.gguf(packed, files.gguf_metadata(NATIVE)))
        self.convert(model)
        self.assertEqual(self.hash_of(self.out), self.hash_of(model))
        self.assertEqual({tensor["dtype"] for name, tensor in self.header().items() if name != "__metadata__"}, {"F32"})

    def test_a_dtype_is_that_of_all_tensors(self):
        wide = self.file("wide.safetensors", files.safetensors({name: tensor.to("F32") for name, tensor in NATIVE.items()}))
        for dtype, name in (("F16", "f16"), ("BF16", "bf16")):
            expected = self.file("e.safetensors", files.safetensors(
                NATIVE if dtype == "BF16" else {name: tensor.to(dtype) for name, tensor in NATIVE.items()}))
            self.convert(wide, "--dtype", name, "--overwrite")
            self.assertEqual(self.hash_of(self.out), self.hash_of(expected))
            self.assertEqual({tensor["dtype"] for key, tensor in self.header().items() if key != "__metadata__"}, {dtype})

    def test_a_number_that_does_not_fit_is_named(self):
        name = "blocks.1.att.w0"
        large = {**NATIVE, name: Tensor("F32", NATIVE[name].shape, struct.pack("<f", 65520) * 128)}
        model = self.file("large.safetensors", files.safetensors(large))
        self.assert_refused(["convert", "--model", model, "--out", self.out, "--dtype", "f16"], f"tensor {name}: 65520", "f16")
        self.assert_nothing_written()

    def test_rwkv_x_keeps_its_names_and_what_config_json_says(self):
        self.convert(MODEL)
        config = json.loads((self.target / "config.json").read_text())
        self.assertEqual((config["moba_chunk_size"], config["moba_topk"], config["tokenizer"]), (64, 3, "bytes"))
        self.assertEqual(self.hash_of(self.target), self.hash_of(MODEL))
        names = set(self.header()) - {"__metadata__"}
        self.assertEqual(names, {name if name.startswith(("rwkv.", "moba.")) else f"rwkv.{name}" for name in files.read_pth(CHECKPOINT)})
        self.convert(MODEL, "--overwrite")  # beside its own config.json

    def test_what_is_never_executed_is_kept(self):
        tensors = files.read_pth(CHECKPOINT)
        block = {name.replace("blocks.3.", "blocks.4."): tensor for name, tensor in tensors.items() if "blocks.3." in name}
        residual = {name.replace("blocks.1.", "blocks.0."): tensor for name, tensor in tensors.items()
                    if "blocks.1.att.v" in name and name[-1] in "012"}
        model = self.file("m.safetensors", files.safetensors({**tensors, **block, **residual}))
        self.convert(model)
        self.assertEqual(len(self.header()) - 1, len(tensors) + len(block) + len(residual))
        self.assertEqual(self.hash_of(self.out), self.hash_of(model))

    def test_packed_files_have_only_executed_blocks(self):
        tensors = files.read_pth(CHECKPOINT)
        block = {name.replace("blocks.3.", "blocks.4."): tensor for name, tensor in tensors.items() if "blocks.3." in name}
        model = self.file("m.safetensors", files.safetensors({**tensors, **block}))
        self.convert(model, "--packed", "--weights", "int8", "--chunk-size", 8, "--top-k", 2)
        self.assertEqual(self.hash_of(self.target), self.hash_of(model, "--weights", "int8", "--chunk-size", 8, "--top-k", 2))
        self.assertIn(b"packed for the kernels, instruction sets: any\n", self.output("inspect", "--model", self.target))

    def test_presets(self):
        self.convert("preset:rwkv-x-tiny")
        self.assertEqual(self.hash_of(self.target), self.hash_of("preset:rwkv-x-tiny"))

    def test_end_token_and_vocabulary(self):
        source = self.folder / "source"
        source.mkdir()
        (source / "m.safetensors").write_bytes(files.safetensors(files.fla(NATIVE)))
        (source / "config.json").write_text(json.dumps({"eos_token_id": 7}))
        (source / "rwkv_vocab_v20230424.txt").write_text("1 'a' 1\n2 'b' 1\n")
        gguf = self.file("m.gguf", files.gguf(files.gguf_tensors(NATIVE), {
            **files.gguf_metadata(NATIVE, [b"a", b"b"]), "tokenizer.ggml.eos_token_id": (files.UINT32, 7)}))
        for model in (source, gguf):
            with self.subTest(model=model.name):
                self.convert(model)
                self.assertEqual(self.listing(self.target)["end_token"], 7)
                self.assertEqual(self.output("tokenize", "--model", self.target, "--text", "ba"), b"2 1\n")
            for path in self.target.iterdir():
                path.unlink()
        beside = source / "n.safetensors"
        self.output("convert", "--model", source, "--out", beside)  # whose config.json is right already
        self.assertEqual(json.loads((source / "config.json").read_text()), {"eos_token_id": 7})
        self.assertEqual(self.hash_of(beside), self.hash_of(source / "m.safetensors"))


class Expansion(Convert):
    def test_an_expanded_model_has_the_bits_of_its_source(self):
        for n_blocks, weights in ((1, "f32"), (2, "f32"), (2, "bf16"), (2, "int8"), (2, "int4")):
            with self.subTest(blocks=n_blocks, weights=weights):
                self.convert(PLAIN, "--expand", n_blocks, "--chunk-size", 16, "--top-k", 2, "--overwrite")
                self.assertEqual(self.hash_of(self.target, "--weights", weights), self.hash_of(PLAIN, "--weights", weights))
                listing = self.listing(self.target)
                self.assertEqual((listing["n_sparse"], listing["chunk_size"], listing["top_k"]), (n_blocks, 16, 2))
            (self.target / "config.json").unlink()

    def test_what_new_blocks_begin_with(self):
        self.convert(PLAIN, "--expand", 2)
        content = self.out.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")

        def tensor(name):
            entry = self.header()[name]
            begin, end = entry["data_offsets"]
            return Tensor(entry["dtype"], entry["shape"], content[start + begin:start + end])
        for j in range(2):
            for name in ("att.receptance", "att.key", "att.value", "ffn.key"):
                self.assertEqual(tensor(f"moba.{j}.{name}.weight"), NATIVE[f"blocks.{j}.{name}.weight"])
            for name, number in (("att.output.weight", 0), ("ffn.value.weight", 0), ("ln1.weight", 1), ("ln2.weight", 1),
                                 ("ln1.bias", 0), ("ln2.bias", 0)):
                self.assertEqual(set(tensor(f"moba.{j}.{name}").values), {number})
            shift = tensor(f"moba.{j}.ffn.x_k")
            self.assertEqual(shift.shape, [1, 1, 128])
            for channel, number in enumerate(shift.values):
                self.assertAlmostEqual(number, 1 - (channel / 128) ** ((1 - j / 2) ** 4), delta=2 ** -9)
        self.assert_nothing_written("m.safetensors")  # chunks are those that config.json needs not name

    def test_names_that_end_as_those_of_factors(self):
        flat = {name: tensor.reshaped(1, 128) if name.endswith(("att.k_a", "att.x_a")) else tensor for name, tensor in NATIVE.items()}
        self.convert(self.file("flat.safetensors", files.safetensors(flat)), "--expand", 2)
        self.assertEqual(self.hash_of(self.target), self.hash_of(PLAIN))

    def test_what_is_refused(self):
        command = ["convert", "--model", PLAIN, "--out", self.out]
        self.assert_refused([*command, "--expand", 3], str(PLAIN), "divisor of 2")
        self.assert_refused([*command, "--expand", 0], "--expand")
        self.assert_refused(["convert", "--model", CHECKPOINT, "--out", self.out, "--expand", 2], "has 2 sparse blocks")
        self.assert_refused([*command, "--chunk-size", 64], "--chunk-size", "--expand")
        self.assert_nothing_written()


class Packed(Convert):
    def pack(self, model, weights):
        self.convert(model, "--packed", "--weights", weights, "--overwrite")

    def test_runs_have_the_bits_of_packing_at_their_beginning(self):
        for weights in ("f32", "bf16", "int8", "int4"):
            self.pack(MODEL, weights)
            with self.subTest(weights=weights):
                expected = self.hash_of(MODEL, "--weights", weights)
                self.assertEqual(self.hash_of(self.target), expected)
                for shards, stages in ((2, 1), (1, 2)):
                    done = self.run_ranks(2, "logits", "--model", self.target, "--tokens", self.tokens, "--hash",
                                          "--shards", shards, "--stages", stages)
                    self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr)
                if weights != "f32":
                    rounded = ["--activations", "bf16" if weights == "bf16" else "int8"]
                    self.assertEqual(self.hash_of(self.target, *rounded), self.hash_of(MODEL, "--weights", weights, *rounded))
        listing = self.listing(self.target)
        self.assertEqual((listing["packed"], listing["dtype"]), (True, "int4"))
        self.assertEqual((listing["n_rwkv"], listing["n_sparse"], listing["chunk_size"]), (4, 2, 64))

    def test_contexts_and_blocks_that_are_added(self):
        context = self.folder / "text.ctx"
        self.output("read", "--model", MODEL, "--weights", "int8", "--save", context, stdin=b"The grass is green. " * 20)
        self.pack(MODEL, "int8")
        asked = ["--context", context, "--tokens", self.tokens, "--hash"]
        self.assertEqual(self.output("logits", "--model", self.target, *asked),
                         self.output("logits", "--model", MODEL, "--weights", "int8", *asked))
        self.output("convert", "--model", PLAIN, "--expand", 2, "--packed", "--out", self.folder / "e.safetensors")
        self.assertEqual(self.hash_of(self.folder / "e.safetensors"), self.hash_of(PLAIN))

    def test_what_is_refused(self):
        self.pack(MODEL, "int8")
        self.assert_refused(["logits", "--model", self.target, "--tokens", self.tokens, "--hash", "--weights", "int4"],
                            str(self.out), "packed as int8", "int4")
        self.assert_refused(["convert", "--model", self.out, "--out", self.folder / "m.safetensors"], str(self.out), "is packed")
        self.assert_refused(["convert", "--model", MODEL, "--out", self.out, "--packed", "--dtype", "f16"], "--dtype")
        self.assert_refused(["convert", "--model", MODEL, "--out", self.out, "--weights", "int8"], "--packed")

    def test_damage_is_refused(self):
        self.pack(MODEL, "int4")
        content = self.out.read_bytes()
        n_header = 8 + int.from_bytes(content[:8], "little")
        expected = self.hash_of(self.target)
        for size in (0, 8, 100, n_header, n_header + 64, len(content) // 2, len(content) - 1):
            self.out.write_bytes(content[:size])
            self.assert_refused(["logits", "--model", self.target, "--tokens", self.tokens, "--hash"], str(self.out))
        for n_bytes in (n_header, len(content)):
            for _ in range(10):
                at, bit = random.randrange(n_bytes), random.randrange(8)
                damaged = bytearray(content)
                damaged[at] ^= 1 << bit
                self.out.write_bytes(damaged)
                done = self.run_program("logits", "--model", self.target, "--tokens", self.tokens, "--hash")
                with self.subTest(byte=at, bit=bit):
                    if done.returncode == 0:
                        self.assertEqual((done.stdout, done.stderr), (expected, b""))
                    else:
                        self.assert_one_sentence(done, str(self.out))


class LowRank(Convert):
    ENERGY = 0.8

    def setUp(self):
        super().setUp()
        self.text = self.file("text.txt", "The grass is green. The sky is blue. " * 3)

    def factor(self, model, *options):
        return self.convert(model, "--low-rank", self.ENERGY, "--overwrite", *options).decode()

    def tensors(self):
        content = self.out.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in self.header().items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                yield name.removeprefix("rwkv."), Tensor(entry["dtype"], entry["shape"], content[start + begin:start + end])

    def test_factors_are_those_of_least_rank_that_keep_the_energy(self):
        wide = {name: tensor.to("F32") for name, tensor in files.read_pth(CHECKPOINT).items()}
        report = self.factor(self.file("wide.safetensors", files.safetensors(wide)))
        written = dict(self.tensors())
        n_factored = 0
        for name, matrix in wide.items():
            name = name.removeprefix("rwkv.")
            if f"{name}_a" not in written:
                self.assertEqual(written[name], matrix, name)
                continue
            self.assertNotIn(name, written)
            self.assertRegex(name, r"^(blocks|moba)\.\d\.(att\.(receptance|key|value|output)|ffn\.(key|value))\.weight$")
            first, second = written[f"{name}_a"], written[f"{name}_b"]
            (n_out, n_in), rank = matrix.shape, first.shape[0]
            self.assertEqual((first.shape, second.shape), ([rank, n_in], [n_out, rank]))
            self.assertLess(rank * (n_out + n_in), n_out * n_in)
            self.assertRegex(report, rf"(?m)^{name} +{n_out} x {n_in} +{rank} ")
            n_factored += 1
            if matrix.shape[0] == matrix.shape[1] == 128 and "moba.1" not in name:  # pure Python takes its time
                rows = [first.values[r * n_in:(r + 1) * n_in] for r in range(rank)]
                lost = 0.0
                for out in range(n_out):
                    row = list(matrix.values[out * n_in:(out + 1) * n_in])
                    for r, factor in enumerate(second.values[out * rank:(out + 1) * rank]):
                        row = [number - factor * each for number, each in zip(row, rows[r])]
                    lost += sum(number * number for number in row)
                whole = sum(number * number for number in matrix.values)
                least = sum(number * number for number in rows[-1])  # what the last rank adds
                rounding = 1e-5 * whole  # of f32 factors: two roundings of eps / 2 in each product, over the root of the rank
                self.assertLessEqual(lost, (1 - self.ENERGY) * whole + rounding, name)
                self.assertGreater(lost + least, (1 - self.ENERGY) * whole - rounding, name)
        self.assertGreater(n_factored, 10)
        self.assertIn(f"{n_factored} of 36 matrices as factors", report)

    def test_factors_have_the_type_of_their_matrix(self):
        name = "blocks.1.att.key.weight"
        self.factor(self.file("m.safetensors", files.safetensors({**NATIVE, name: NATIVE[name].to("F32")})))
        types = {key: tensor.dtype for key, tensor in self.tensors() if key.endswith(("_a", "_b"))}
        self.assertEqual({key for key, dtype in types.items() if dtype == "F32"}, {f"{name}_a", f"{name}_b"})
        report = self.factor(self.file("m.gguf", files.gguf(files.gguf_tensors({key: tensor.to("F32") for key, tensor in NATIVE.items()}),
                                                            files.gguf_metadata(NATIVE))), "--dtype", "f16")
        matrix = NATIVE[name]
        self.assertRegex(report, rf"(?m)^{name} .* {2e-3 * matrix.shape[0] * matrix.shape[1]:.1f} kB ")
        self.assertEqual({tensor.dtype for _, tensor in self.tensors()}, {"F16"})

    def test_factors_that_overflow_are_refused(self):
        name = "blocks.1.att.key.weight"
        large = Tensor("BF16", NATIVE[name].shape, b"\x70\x7f" * (len(NATIVE[name].data) // 2))  # 3e38
        model = self.file("large.safetensors", files.safetensors({**NATIVE, name: large}))
        self.assert_refused(["convert", "--model", model, "--out", self.out, "--low-rank", self.ENERGY], name, "so large")
        self.assert_nothing_written()

    def test_the_grid_changes_no_bit(self):
        self.factor(MODEL)
        content = self.out.read_bytes()
        for weights in ("f32", "bf16", "int8", "int4"):
            expected = self.hash_of(self.target, "--weights", weights)
            for grid in (("--shards", 2), ("--stages", 2)):
                done = self.run_ranks(2, "logits", "--model", self.target, "--tokens", self.tokens, "--hash", "--weights", weights, *grid)
                self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr)
        self.assertNotEqual(expected, self.hash_of(MODEL, "--weights", "int4"))
        for n_ranks in (2, 3):  # the file does not depend on who found the factors
            done = self.run_ranks(n_ranks, "convert", "--model", MODEL, "--low-rank", self.ENERGY, "--out", self.out, "--overwrite")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.out.read_bytes(), content)

    def test_ranks_report_what_one_does(self):
        alone = self.factor(MODEL, "--text", self.text)
        done = self.run_ranks(2, "convert", "--model", MODEL, "--low-rank", self.ENERGY, "--text", self.text, "--out", self.out, "--overwrite")
        self.assertEqual(done.returncode, 0, done.stderr)

        def without_bytes(report):  # of factors less than a panel of 32 each shard is given a whole one
            return [re.sub(r"[\d.]+ [kM]?B", "", line) for line in report.splitlines()[-6:]]
        self.assertEqual(without_bytes(done.stdout.decode()), without_bytes(alone))
        done = self.run_ranks(2, "convert", "--model", MODEL, "--low-rank", self.ENERGY, "--text", self.folder / "none.txt", "--out", self.out, "--overwrite")
        self.assert_reported_once(done, r".*none\.txt.*")

    def test_a_factor_without_the_other_is_refused(self):
        self.factor(MODEL)
        tensors = {name: tensor for name, tensor in self.tensors()}
        whole = next(name for name in tensors if name.endswith("_a"))[:-2]
        for missing in ("_a", "_b"):
            model = self.file("one.safetensors", files.safetensors({name: tensor for name, tensor in tensors.items() if name != whole + missing}))
            self.assert_refused(["logits", "--model", model, "--tokens", self.file("ids", "1 2"), "--chunk-size", 64],
                                f"tensor {whole}{missing} is missing")

    def test_packed_and_converted_again(self):
        self.factor(MODEL)
        for options in ((), ("--packed", "--weights", "int8")):
            again = self.folder / f"again{len(options)}"
            again.mkdir()
            self.output("convert", "--model", self.target, "--out", again / "m.safetensors", *options)
            self.assertEqual(self.hash_of(again), self.hash_of(self.target, *options[1:]))

    def test_modes_and_sparse_blocks(self):
        self.factor(MODEL)
        for attention in ("reference", "full", "none"):
            self.hash_of(self.target, "--attention", attention)
        self.output("eval", "passkey", "--model", self.target, "--lengths", 300, "--samples", 1, "--out", self.folder / "r.jsonl")

    def test_a_text_shows_what_is_lost(self):
        lines = self.factor(MODEL, "--text", self.text).splitlines()
        header = next(i for i, line in enumerate(lines) if line.startswith("model "))
        runs = [re.fullmatch(r"(source|result) +(\w+) +([\d.]+ \w+) +([\d.]+) +([\d.]+)", line).groups() for line in lines[header + 1:]]
        self.assertEqual([run[:2] for run in runs], [(model, weights) for model in ("source", "result") for weights in ("bf16", "int8", "int4")])
        tokens = self.output("tokenize", "--model", MODEL, "--file", self.text)
        for model, (_, weights, _, loss, error) in zip([MODEL] * 3 + [self.target] * 3, runs):
            found = self.logits_of(model, tokens, weights)
            if weights == "bf16" and model == MODEL:
                reference = found
            ids = list(map(int, tokens.split()))
            losses = [math.log(sum(math.exp(logit - row[after]) for logit in row)) for row, after in zip(found, ids[1:])]
            self.assertAlmostEqual(float(loss), sum(losses) / len(losses), delta=6e-5)
            largest = max(abs(a - b) for row, other in zip(found[:-1], reference[:-1]) for a, b in zip(row, other))
            self.assertAlmostEqual(float(error), largest, delta=6e-5)

    def logits_of(self, model, tokens, weights):
        path = self.folder / "logits.npy"
        self.output("logits", "--model", model, "--tokens", self.file("ids.txt", tokens), "--out", path, "--weights", weights)
        content = path.read_bytes()
        numbers = array.array("f", content[10 + int.from_bytes(content[8:10], "little"):])
        return [numbers[first:first + 256] for first in range(0, len(numbers), 256)]

    def test_what_is_refused(self):
        command = ["convert", "--model", MODEL, "--out", self.out]
        for energy in ("0", "1", "-0.5", "1.5", "nan", "x"):
            self.assert_refused([*command, f"--low-rank={energy}"], "--low-rank", "between 0 and 1")
        self.assert_refused([*command, "--low-rank", 0.9, "--packed"], "--low-rank", "--packed")
        self.assert_refused([*command, "--low-rank", 0.9, "--expand", 1], "--low-rank", "--expand")
        self.assert_refused([*command, "--text", self.text], "--text", "--low-rank")
        self.assert_refused([*command, "--low-rank", 0.9, "--text", self.folder / "none.txt"], "none.txt")
        self.assert_refused([*command, "--low-rank", 0.9, "--text", self.file("short.txt", "x")], "--text", "two tokens", "short.txt")
        infinite = {**NATIVE, "blocks.1.ffn.key.weight": Tensor("BF16", NATIVE["blocks.1.ffn.key.weight"].shape,
                                                                b"\x80\x7f" + NATIVE["blocks.1.ffn.key.weight"].data[2:])}
        model = self.file("infinite.safetensors", files.safetensors(infinite))
        self.assert_refused(["convert", "--model", model, "--out", self.out, "--low-rank", 0.9], "infinite.safetensors", "blocks.1.ffn.key.weight")
        self.assert_nothing_written()

    def test_files_with_factors_that_do_not_fit(self):
        self.convert(PLAIN, "--low-rank", self.ENERGY)
        tensors = dict(self.tensors())
        name = next(name for name in tensors if name.endswith(".weight_a"))[:-2]
        a, b = tensors[f"{name}_a"], tensors[f"{name}_b"]
        rank = a.shape[0]
        half = Tensor(a.dtype, [rank - 1, a.shape[1]], a.data[:-a.shape[1] * 2])
        none = Tensor(a.dtype, [0, a.shape[1]], b"")
        n_out, n_in = b.shape[0], a.shape[1]
        full = {f"{name}_a": Tensor("BF16", [n_in, n_in], bytes(2 * n_in * n_in)), f"{name}_b": Tensor("BF16", [n_out, n_in], bytes(2 * n_out * n_in))}
        without = {key: tensor for key, tensor in tensors.items() if not key.startswith(name)}
        for others, part in (({f"{name}_a": a}, f"{name}_b"), ({f"{name}_b": b}, name), ({f"{name}_a": half, f"{name}_b": b}, f"{name}_b"),
                             ({f"{name}_a": a, f"{name}_b": b, name: NATIVE[name]}, f"{name} is not one"), (full, f"a rank below its {n_in} inputs"),
                             ({f"{name}_a": none, f"{name}_b": Tensor(b.dtype, [b.shape[0], 0], b"")}, name)):
            model = self.file("m.safetensors", files.safetensors({**without, **others}))
            self.assert_refused(["logits", "--model", model, "--tokens", self.tokens, "--hash"], str(model), part)
        self.assert_refused(["convert", "--model", self.out, "--expand", 2, "--out", self.folder / "e.safetensors"], "low rank")


class Refusals(Convert):
    def refuse(self, out, *parts, model=CHECKPOINT, options=()):
        self.assert_refused(["convert", "--model", model, "--out", out, *options], *parts)

    def test_names(self):
        self.refuse(self.target / "m.gguf", "--out", ".safetensors")
        self.refuse(self.target / "no" / "m.safetensors", "No such file")
        os.mkfifo(self.out)
        self.refuse(self.out, "--out", "plain file")

    def test_a_file_that_is_there(self):
        self.out.write_bytes(b"precious")
        self.refuse(self.out, "--out", str(self.out), "--overwrite")
        self.assertEqual(self.out.read_bytes(), b"precious")

    def test_the_source_itself(self):
        self.convert(MODEL)
        content = self.out.read_bytes()
        link = self.target / "link.safetensors"
        link.symlink_to(self.out)
        for out in (self.out, link):
            self.refuse(out, "--out", "also --model", model=self.out, options=("--overwrite",))
        self.assertEqual(self.out.read_bytes(), content)

    def test_a_lora_and_a_vocabulary(self):
        adapter = self.file("lora.safetensors", files.safetensors(
            {"blocks.1.att.key.lora_A": Tensor("F32", [1, 128], bytes(512)), "blocks.1.att.key.lora_B": Tensor("F32", [128, 1], bytes(512))}))
        before = adapter.read_bytes()
        self.refuse(adapter, "--out", "--lora", model=PLAIN, options=("--lora", adapter, "--overwrite"))
        self.assertEqual(adapter.read_bytes(), before)

    def test_a_link(self):
        other = self.folder / "other"
        other.mkdir()
        self.out.symlink_to("../other/m.safetensors")
        self.convert(MODEL)
        self.assertEqual(self.hash_of(other), self.hash_of(MODEL))  # config.json lies where the file is
        self.assert_nothing_written("m.safetensors")

    def test_a_folder_of_another_checkpoint(self):
        (self.target / "other.safetensors").write_bytes(files.safetensors(NATIVE))
        self.refuse(self.out, str(self.target / "config.json"), "other.safetensors", model=MODEL)
        self.assert_nothing_written("other.safetensors")
        self.convert(PLAIN)  # which needs no config.json

    def test_the_config_of_another_model(self):
        for config in ({"moba_chunk_size": 32}, {"n_embd": 64}, {"tokenizer": "bytes", "eos_token_id": 3}):
            path = self.target / "config.json"
            path.write_text(json.dumps(config))
            self.refuse(self.out, str(path), model=MODEL)
            self.assert_nothing_written("config.json")
            self.assertEqual(json.loads(path.read_text()), config)

    def test_tensors_that_the_model_does_not_use(self):
        model = self.file("m.safetensors", files.safetensors({**NATIVE, "blocks.0.att.time_state": Tensor("BF16", [64], bytes(128))}))
        self.refuse(self.out, "time_state", model=model)
        self.assert_nothing_written()

    def test_damage_is_not_passed_on(self):
        content = bytearray(CHECKPOINT.read_bytes())
        content[len(content) // 2] ^= 1
        self.refuse(self.out, "damaged", model=self.file("m.pth", bytes(content)))
        self.assert_nothing_written()


class Ends(Convert):
    def test_a_full_disk(self):
        command = f'ulimit -f 100; trap "" XFSZ; exec "$0" convert --model {CHECKPOINT} --out {self.out}'
        done = subprocess.run(["bash", "-c", command, program.PROGRAM], capture_output=True, timeout=program.SECONDS, check=False)
        self.assert_one_sentence(done, str(self.out), "cannot be written")
        self.assert_nothing_written()

    def test_ctrl_c(self):
        self.stop("preset:rwkv7-1.5b", when=self.is_open)

    def test_ctrl_c_between_matrices(self):
        self.stop("preset:rwkv7-0.2b", "--low-rank", 0.5, when=self.has_loaded_openblas)

    def stop(self, model, *options, when):
        """Ctrl-C as soon as `when` of the process holds."""
        process = self.start("convert", "--model", model, "--out", self.out, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + program.SECONDS
        while not when(process):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.communicate(timeout=program.SECONDS), (b"", b""))
        self.assertEqual(process.returncode, 130)
        self.assert_nothing_written()

    @staticmethod
    def has_loaded_openblas(process):
        return "openblas" in pathlib.Path(f"/proc/{process.pid}/maps").read_text()

    def is_open(self, process):
        """Whether the process writes a file in the target's folder."""
        for descriptor in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                if os.readlink(descriptor).startswith(str(self.target)):
                    return True
            except OSError:
                pass  # closed in between
        return False


if __name__ == "__main__":
    program.main()
