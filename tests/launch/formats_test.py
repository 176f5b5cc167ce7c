#!/usr/bin/env python3
"""Checkpoints in the names and formats of other programs give the bits of the native file with the same numbers."""
import json
import pathlib
import struct

import checkpoint_files as files
import program
from checkpoint_files import FLOAT32, STRING, UINT32, Tensor

CASE = pathlib.Path(__file__).resolve().parents[1] / "golden/data/d/model.pth"  # plain RWKV-7 in bf16, of four different ranks
N_CHANNELS, N_BLOCKS = 128, 2
TOKENS = "10 20 30 40 50"
NATIVE = files.read_pth(CASE)
# Factors that the first block does not use, as most published files have them.
NATIVE |= {name.replace("blocks.1.", "blocks.0."): tensor for name, tensor in NATIVE.items()
           if name in ("blocks.1.att.v0", "blocks.1.att.v1", "blocks.1.att.v2")}


def converted(dtype):
    return {name: tensor.to(dtype) for name, tensor in NATIVE.items()}


class Formats(program.ProgramTest):
    def command(self, model):
        return ["logits", "--model", model, "--tokens", self.file("tokens.txt", TOKENS), "--hash"]

    def hash_of(self, name, content):
        return self.output(*self.command(self.file(name, content)))

    def listing(self, model):
        return json.loads(self.output("inspect", "--model", model, "--json"))

    def assert_model_refused(self, model, *parts):
        self.assert_refused(self.command(model), str(model), *parts)


class Families(Formats):
    def test_each_gives_the_bits_of_the_native_file(self):
        for dtype in ("F16", "BF16"):
            native = converted(dtype) if dtype == "F16" else NATIVE
            expected = self.hash_of("native.safetensors", files.safetensors(native))
            for family, content in {"web-rwkv": files.safetensors(files.web_rwkv(native)),
                                    "transformers": files.safetensors(files.transformers(native)),
                                    "transformers (model.)": files.safetensors(files.transformers(native, "model.")),
                                    "fla": files.safetensors(files.fla(native)),
                                    "fla (stacked)": files.safetensors(files.fla(native, stacked=True)),
                                    "gguf": files.gguf(files.gguf_tensors(native), files.gguf_metadata(native))}.items():
                with self.subTest(family=family, dtype=dtype):
                    self.assertEqual(self.hash_of("model.st", content), expected)
                    listing = self.listing(self.folder / "model.st")
                    self.assertEqual((listing["family"], listing["dtype"]), (family.split(" ")[0], dtype.lower()))

    def test_native_factors_in_a_st_file(self):
        self.assertEqual(self.hash_of("m.st", files.safetensors(NATIVE)), self.output(*self.command(CASE)))
        self.assertEqual(self.listing(self.folder / "m.st")["family"], "native")

    def test_folders_of_shards(self):
        for family in (files.transformers, files.fla):
            folder = self.folder / family.__name__
            folder.mkdir()
            for name, content in files.shards(family(NATIVE), 3).items():
                (folder / name).write_bytes(content)
            (folder / "config.json").write_text(json.dumps({"hidden_size": N_CHANNELS, "num_hidden_layers": N_BLOCKS, "attn": None,
                                                            "bos_token_id": 1, "eos_token_id": 2}))
            (folder / "rwkv_vocab_v20230424.txt").write_text("1 'a' 1\n2 'b' 1\n3 'ab' 2\n")
            with self.subTest(family=family.__name__):
                self.assertEqual(self.output(*self.command(folder)), self.output(*self.command(CASE)))
                self.assertEqual(self.output("tokenize", "--model", folder, "--text", "abba"), b"3 2 1\n")
                self.assertEqual(self.listing(folder)["end_token"], 0)

    def test_what_is_not_used_is_named_as_the_file_names_it(self):
        extra = Tensor("BF16", [64], bytes(128))
        for family, names in {files.transformers: ("rwkv7.blocks.1.ffn.s_emb.weight", "rwkv7.blocks.0.att.key.lora_A"),
                              files.fla: ("model.layers.1.attn.q_proj.weight", "model.layers.0.attn.time_state"),
                              files.web_rwkv: ("blocks.0.att.value.lora.0", "blocks.1.att.time_state")}.items():
            for name in names:
                model = self.file("m.safetensors", files.safetensors({**family(NATIVE), name: extra}))
                with self.subTest(name=name):
                    self.assert_model_refused(model, f"tensor {name.removeprefix('rwkv7.')} is not one")


    def test_what_is_missing_is_named_as_the_file_names_it(self):
        for family, name in {files.transformers: "head.weight", files.fla: "model.layers.1.attn.a_lora.lora.0.weight",
                             files.gguf_tensors: "blk.1.time_mix_key.weight"}.items():
            tensors = family(NATIVE)
            del tensors[name]
            content = files.gguf(tensors, files.gguf_metadata(NATIVE)) if family is files.gguf_tensors else files.safetensors(tensors)
            with self.subTest(name=name):
                self.assert_model_refused(self.file("m", content), "is missing", name)


class Configurations(Formats):
    def test_other_mathematics_is_refused(self):
        self.file("m.safetensors", files.safetensors(files.fla(NATIVE)))
        for key, value in {"attn": {"layers": [0]}, "norm_first": False, "norm_bias": False, "tie_word_embeddings": True,
                           "hidden_act": "relu", "norm_eps": 1e-6, "head_dim": 128, "value_dim": [128, 256], "hidden_size": 256,
                           "num_hidden_layers": 3, "intermediate_size": 1, "vocab_size": 65536, "use_deep_embed": True,
                           "decay_low_rank_dim": 64, "v_low_rank_dim": 64, "quantization_config": {"bits": 8},
                           "eos_token_id": 256}.items():
            config = self.file("config.json", json.dumps({key: value}))
            with self.subTest(key=key):
                self.assert_refused(self.command(self.folder), str(config), key)
                self.assert_refused(["inspect", "--model", self.folder], str(config), key)
        self.file("config.json", json.dumps({
            "attn": None, "norm_first": True, "norm_bias": True, "tie_word_embeddings": False, "hidden_act": "sqrelu",
            "norm_eps": 1e-5, "head_dim": 64, "num_heads": 32, "value_dim": [128, 128], "hidden_size": 128, "num_hidden_layers": 2,
            "intermediate_size": None, "use_deep_embed": False, "decay_low_rank_dim": 32, "a_low_rank_dim": 24,
            "v_low_rank_dim": 16, "gate_low_rank_dim": 48, "eos_token_id": 7, "bos_token_id": 1, "model_type": "rwkv7"}))
        self.assertEqual(self.output(*self.command(self.folder)), self.output(*self.command(CASE)))
        self.assertEqual(self.listing(self.folder)["end_token"], 7)


class Gguf(Formats):
    def setUp(self):
        super().setUp()
        self.tensors = files.gguf_tensors(NATIVE)
        self.metadata = files.gguf_metadata(NATIVE)

    def write(self, tensors=None, metadata=None, **layout):
        content = files.gguf(self.tensors if tensors is None else tensors, self.metadata if metadata is None else metadata, **layout)
        return self.file("m.gguf", content)

    def test_blocks_give_the_bits_of_their_numbers(self):
        native = converted("F32")
        for name, pack in {"emb.weight": files.q8_0, "head.weight": files.q4_0, "blocks.0.att.key.weight": files.q4_0,
                           "blocks.1.att.output.weight": files.q8_0, "blocks.0.ffn.value.weight": files.q6_k,
                           "blocks.1.att.g1": files.q8_0}.items():
            packed = files.gguf_tensors({**native, name: native[name]})
            in_file = next(key for key in packed if packed[key].data == native[name].data or
                           (files.is_factor(name) and key == "blk.1.time_mix_g1.weight"))
            with self.subTest(name=name, pack=pack.__name__):
                if files.is_factor(name):  # g2's numbers stay: its rows of 48 are no whole blocks
                    packed[in_file], numbers = pack(native[name].transposed())
                    meant = numbers.transposed()
                else:
                    packed[in_file], meant = pack(native[name])
                expected = self.hash_of("n.safetensors", files.safetensors({**native, name: meant}))
                self.assertEqual(self.output(*self.command(self.write(packed))), expected)
                self.assertNotEqual(expected, self.hash_of("n.safetensors", files.safetensors(native)))
                types = {tensor["dtype"] for group in self.listing(self.folder / "m.gguf")["groups"] for tensor in group["tensors"]}
                self.assertEqual(types, {"f32", packed[in_file].dtype.lower().replace("q6_k", "q6_K")})

    def test_order_alignment_and_version_of_the_file_do_not_matter(self):
        expected = self.output(*self.command(CASE))
        shuffled = dict(sorted(self.tensors.items(), key=lambda item: item[0][::-1]))
        self.assertEqual(self.output(*self.command(self.write(shuffled, version=2))), expected)
        aligned = {**self.metadata, "general.alignment": (UINT32, 256)}
        self.assertEqual(self.output(*self.command(self.write(metadata=aligned, alignment=256))), expected)
        content = self.write().read_bytes()
        self.assertEqual(self.hash_of("m.gguf", content.rstrip(b"\0") if content.endswith(bytes(8)) else content), expected)

    def test_its_vocabulary(self):
        vocabulary = [b"\0", b"\n", b" ", b"'", b'"', b"\\", b"a", b"ab", "né".encode(), b"\xe2\x96", b"b'\""]
        model = self.write(metadata=files.gguf_metadata(NATIVE, vocabulary))
        text = b"".join(vocabulary)
        tokens = self.output("tokenize", "--model", model, stdin=text)
        self.assertEqual(tokens, " ".join(str(1 + i) for i in range(len(vocabulary))).encode() + b"\n")
        self.assertEqual(self.output("tokenize", "--model", model, "--decode", stdin=tokens), text)
        self.assertEqual(self.output("tokenize", "--tokenizer", model, "--text", "aab"), b"7 8\n")
        self.assert_refused(["tokenize", "--model", model, "--text", "z"], str(model), "0x7a")
        self.assertEqual(self.output("tokenize", "--model", self.write(), "--text", "a"), b"97\n")  # 256 tokens: bytes
        for tokens, kinds, part in ((["<s>", "a", "a"], [3, 1, 1], "token 2: has the bytes of token 1"), (["<s>", "\\q"], [3, 1], "escape"),
                                    (["<s>", ""], [3, 1], "empty"), (["<s>", "a"], [3], "same length"), (["<s>"], [3], "no tokens"),
                                    (["<s>", "\\x4"], [3, 1], "hexadecimal")):
            damaged = {**files.gguf_metadata(NATIVE, vocabulary), "tokenizer.ggml.tokens": (files.ARRAY, (STRING, tokens)),
                       "tokenizer.ggml.token_type": (files.ARRAY, (files.INT32, kinds))}
            with self.subTest(tokens=tokens):
                model = self.write(metadata=damaged)
                self.assert_refused(["tokenize", "--model", model, "--text", "a"], str(model), part)

    def test_other_models_are_refused(self):
        for key, value in {"general.architecture": (STRING, "arwkv7"), "general.type": (STRING, "adapter"),
                           "split.count": (UINT32, 2), "rwkv7.wkv.head_size": (UINT32, 128), "rwkv7.block_count": (UINT32, 3),
                           "rwkv7.embedding_length": (STRING, "128"), "rwkv7.attention.layer_norm_epsilon": (FLOAT32, 1e-6),
                           "rwkv7.token_shift_count": (UINT32, 1), "tokenizer.ggml.eos_token_id": (UINT32, 256),
                           "general.alignment": (UINT32, 48)}.items():
            with self.subTest(key=key):
                self.assert_model_refused(self.write(metadata={**self.metadata, key: value}), key)
        del self.metadata["general.architecture"]
        self.assert_model_refused(self.write(), "general.architecture is missing")

    def test_what_is_not_used_is_named(self):
        self.tensors["blk.0.attn_q.weight"] = Tensor("F32", [1], bytes(4))
        self.assert_model_refused(self.write(), "tensor blk.0.attn_q.weight is not one")

    def test_types_that_are_not_read_are_named(self):
        content = self.write().read_bytes()
        name = files.gguf_string("output.weight")
        at = content.index(name) + len(name) + 4 + 16
        for number, name in ((12, "q4_K"), (3, "q4_1"), (99, "number 99")):
            model = self.file("m.gguf", content[:at] + struct.pack("<I", number) + content[at + 4:])
            self.assert_model_refused(model, "tensor output.weight", name)

    def test_hostile_files(self):
        content = self.write(metadata=files.gguf_metadata(NATIVE, [b"a", b"b"])).read_bytes()
        start = content.index(b"token_embd.weight")  # somewhere in the list of tensors
        for size in (0, 3, 4, 8, 20, 24, 30, 100, start, start + 30, len(content) // 2, len(content) - 40):
            with self.subTest(size=size):
                self.assert_model_refused(self.file("m.gguf", content[:size]))
        huge = struct.pack("<Q", 1 << 60)
        for at in (8, 16, 24, content.index(b"tokenizer.ggml.tokens") + 21 + 8, start - 8, start + 17 + 4, start + 17 + 4 + 16 + 4):
            with self.subTest(at=at):
                self.assert_model_refused(self.file("m.gguf", content[:at] + huge + content[at + 8:]))
        nested = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + files.gguf_string("a") + struct.pack("<IIQ", 9, 9, 1) * 1000
        self.assert_model_refused(self.file("m.gguf", nested), "list")
        for tensors in ([("a", 0), ("b", 0)], [("a", 0), ("b", 64)], [("a", 0), ("a", 32)], [("a", 4)]):
            listed = b"".join(files.gguf_string(name) + struct.pack("<IQIQ", 1, 8, 0, offset) for name, offset in tensors)
            head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0) + listed
            with self.subTest(tensors=tensors):
                self.assert_model_refused(self.file("m.gguf", head + bytes(-len(head) % 32 + 128)), "tensor")
        twice = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (files.gguf_string("a") + struct.pack("<II", 4, 1)) * 2
        self.assert_model_refused(self.file("m.gguf", twice), "twice")
        self.assert_model_refused(self.file("m.gguf", b"GGUF\0\0\0\3" + content[8:]), "version")


if __name__ == "__main__":
    program.main()
