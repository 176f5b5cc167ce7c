"""Checkpoints for tests, written as other programs write them: names and shapes of every family, GGUF, and numbers in blocks.
Sources: the converters of transformers, flash-linear-attention, web-rwkv and llama.cpp."""
import array
import io
import json
import math
import pickle
import re
import struct
import typing
import zipfile

SIZES = {"F32": 4, "F16": 2, "BF16": 2}


class Tensor(typing.NamedTuple):
    """Numbers in row-major order; `dtype` as safetensors names it."""
    dtype: str
    shape: list
    data: bytes

    @property
    def values(self):
        if self.dtype == "F16":
            return struct.unpack(f"<{len(self.data) // 2}e", self.data)
        if self.dtype == "BF16":
            halves = array.array("H", self.data)
            return array.array("f", array.array("I", [half << 16 for half in halves]).tobytes())
        return array.array("f", self.data)

    def to(self, dtype):
        """In f32 or f16; numbers of f16 must fit."""
        if dtype == self.dtype:
            return self
        return Tensor(dtype, self.shape, struct.pack(f"<{len(self.values)}{'f' if dtype == 'F32' else 'e'}", *self.values))

    def transposed(self):
        numbers = array.array({2: "H", 4: "I"}[SIZES[self.dtype]], self.data)
        n_columns = self.shape[1]
        data = b"".join(numbers[column::n_columns].tobytes() for column in range(n_columns))
        return Tensor(self.dtype, self.shape[::-1], data)

    def reshaped(self, *shape):
        return Tensor(self.dtype, list(shape), self.data)

    def squeezed(self):
        return self.reshaped(*(extent for extent in self.shape if extent != 1))


class Reader(pickle.Unpickler):
    """Of a torch pickle: tensors become (storage key, offset, shape)."""

    def find_class(self, module, name):
        return (lambda storage, offset, shape, *_: (storage, offset, list(shape))) if "tensor" in name else dict

    def persistent_load(self, pid):
        return pid[2]


def read_pth(path):
    """The tensors of a file in bf16."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        tensors = {}
        for name, (key, offset, shape) in Reader(archive.open(f"{root}/data.pkl")).load().items():
            content = archive.read(f"{root}/data/{key}")
            tensors[name] = Tensor("BF16", shape, content[2 * offset:2 * (offset + math.prod(shape))])
        return tensors


def pth(tensors):
    """A file of torch.save: its zip archive, and the pickle that names each tensor's storage."""
    def number(value):
        return b"J" + struct.pack("<i", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storages = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage"}
    content, stream = b"\x80\x02}(", io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for key, (name, tensor) in enumerate(tensors.items()):
            strides = [math.prod(tensor.shape[at + 1:]) for at in range(len(tensor.shape))]
            storage = (b"(" + text("storage") + f"ctorch\n{storages[tensor.dtype]}\n".encode() + text(str(key)) + text("cpu") +
                       number(math.prod(tensor.shape)) + b"tQ")
            content += (text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + numbers(tensor.shape) +
                        numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR")
            archive.writestr(f"archive/data/{key}", tensor.data)
        archive.writestr("archive/data.pkl", content + b"u.")
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def safetensors(tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [len(data), len(data) + len(tensor.data)]}
        data += tensor.data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def shards(tensors, count):
    """An index and files: names and contents."""
    names = list(tensors)
    files, weight_map = {}, {}
    for part in range(count):
        file = f"model-{part + 1:05}-of-{count:05}.safetensors"
        mine = names[part::count]
        files[file] = safetensors({name: tensors[name] for name in mine})
        weight_map.update(dict.fromkeys(mine, file))
    return {"model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": weight_map}).encode(), **files}


# ---- names

def is_unused(name):
    return re.fullmatch(r"blocks\.0\.att\.v[012]", name)


def is_factor(name):
    return re.search(r"\.att\.[wavg][12]$", name)


def transformers(tensors, prefix="rwkv7."):
    return {name if name == "head.weight" else prefix + name: tensor for name, tensor in tensors.items()}


def web_rwkv(tensors):
    return {name.lower(): tensor.transposed() if is_factor(name) else tensor for name, tensor in tensors.items()}


def fla(tensors, stacked=False):
    """With `stacked`, as older versions: the six vectors of the token shift in one matrix."""
    renamed = {}
    for name, tensor in tensors.items():
        if is_unused(name):
            continue
        for pattern, replacement in ((r"^emb\.", "model.embeddings."), (r"^ln_out\.", "model.norm."), (r"^head\.", "lm_head."),
                                     (r"^blocks\.", "model.layers."), (r"\.ln0\.", ".pre_norm."), (r"\.ln1\.", ".attn_norm."),
                                     (r"\.ln2\.", ".ffn_norm."), (r"\.att\.", ".attn."), (r"attn\.receptance", "attn.r_proj"),
                                     (r"attn\.key", "attn.k_proj"), (r"attn\.value", "attn.v_proj"),
                                     (r"attn\.output", "attn.o_proj"), (r"attn\.ln_x", "attn.g_norm"),
                                     (r"attn\.([wavg])0$", r"attn.\1_lora.lora.2.bias"),
                                     (r"attn\.([wavg])([12])$",
                                      lambda found: f"attn.{found[1]}_lora.lora.{'0' if found[2] == '1' else '2'}.weight")):
            name = re.sub(pattern, replacement, name)
        if "_lora.lora." in name and name.endswith("weight"):
            tensor = tensor.transposed()
        elif not re.search(r"attn\.x_.$", name):
            tensor = tensor.squeezed()
        renamed[name] = tensor
    if stacked:
        for layer in {name.split(".")[2] for name in renamed if name.startswith("model.layers.")}:
            parts = [renamed.pop(f"model.layers.{layer}.attn.x_{letter}") for letter in "rwkvag"]
            renamed[f"model.layers.{layer}.attn.x_x"] = Tensor(parts[0].dtype, [6, parts[0].shape[-1]],
                                                                b"".join(part.data for part in parts))
    return renamed


# ---- GGUF

GGML_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q6_K": 14, "BF16": 30}
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5


def gguf_string(text):
    content = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(content)) + content


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        item_kind, items = value
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(gguf_value(item_kind, item) for item in items)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f"}[kind], value)


def gguf(tensors, metadata, alignment=32, version=3):
    """Of tensors whose dtype is a key of GGML_TYPES and whose shape is row-major; metadata: (kind, value) by key."""
    content = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, (kind, value) in metadata.items():
        content += gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)
    data = b""
    for name, tensor in tensors.items():
        content += gguf_string(name) + struct.pack("<I", len(tensor.shape))
        content += b"".join(struct.pack("<Q", extent) for extent in reversed(tensor.shape))
        content += struct.pack("<IQ", GGML_TYPES[tensor.dtype], len(data))
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return content + bytes(-len(content) % alignment) + data


def gguf_tensors(tensors):
    """Matrices as they are, all else in f32."""
    names = {"emb.weight": "token_embd.weight", "head.weight": "output.weight", "ln_out.weight": "output_norm.weight",
             "ln_out.bias": "output_norm.bias", "blocks.0.ln0.weight": "token_embd_norm.weight",
             "blocks.0.ln0.bias": "token_embd_norm.bias"}
    renamed, shifts = {}, {}
    for name, tensor in tensors.items():
        if is_unused(name):
            continue
        shift = re.fullmatch(r"blocks\.(\d+)\.att\.x_(.)", name)
        if shift:
            shifts.setdefault(shift[1], {})[shift[2]] = tensor.to("F32")
            continue
        if name not in names:
            block, rest = re.fullmatch(r"blocks\.(\d+)\.(.*)", name).groups()
            for pattern, replacement in ((r"^ln1\.", "attn_norm."), (r"^ln2\.", "attn_norm_2."), (r"^att\.ln_x", "time_mix_ln"),
                                         (r"^att\.", "time_mix_"), (r"^ffn\.x_k", "channel_mix_lerp_k"), (r"^ffn\.", "channel_mix_")):
                rest = re.sub(pattern, replacement, rest)
            names[name] = f"blk.{block}.{rest}{'' if rest.endswith(('.weight', '.bias')) else '.weight'}"
        tensor = tensor.squeezed()
        if is_factor(name):
            tensor = tensor.transposed()
        elif name.endswith("r_k"):
            tensor = tensor.reshaped(math.prod(tensor.shape))
        tensor = tensor if len(tensor.shape) == 2 else tensor.to("F32")
        if re.match(r"blocks\.0\.att\.a[012]", name):  # nobody reads them, but llama.cpp wants them there
            renamed[names[name].replace("time_mix_a", "time_mix_v")] = tensor
        renamed[names[name]] = tensor
    for block, parts in shifts.items():
        renamed[f"blk.{block}.time_mix_lerp_fused.weight"] = Tensor(
            "F32", [6, 1, 1, parts["r"].shape[-1]], b"".join(parts[letter].data for letter in "rwkvag"))
    return renamed


def gguf_metadata(tensors, vocabulary=None):
    """Of a model with native tensors; vocabulary: the bytes of tokens 1, 2, .."""
    n_tokens, n_channels = tensors["emb.weight"].shape
    sizes = {"block_count": 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")),
             "embedding_length": n_channels, "feed_forward_length": tensors["blocks.0.ffn.key.weight"].shape[0],
             "wkv.head_size": 64, "context_length": 1048576, "attention.head_count": 0,
             "attention.decay_lora_rank": tensors["blocks.1.att.w1"].shape[1],
             "attention.iclr_lora_rank": tensors["blocks.1.att.a1"].shape[1],
             "attention.value_residual_mix_lora_rank": tensors["blocks.1.att.v1"].shape[1],
             "attention.gate_lora_rank": tensors["blocks.1.att.g1"].shape[1]}
    metadata = {"general.architecture": (STRING, "rwkv7"), "general.type": (STRING, "model"),
                **{f"rwkv7.{key}": (UINT32, size) for key, size in sizes.items()},
                "rwkv7.attention.layer_norm_epsilon": (FLOAT32, 1e-5)}
    if vocabulary is not None:
        texts = ["<s>"] + [repr(token)[2:-1] for token in vocabulary]
        kinds = [3] + [1] * len(vocabulary) + [5] * (n_tokens - len(texts))
        texts += [f"[PAD{token}]" for token in range(len(texts), n_tokens)]
        metadata |= {"tokenizer.ggml.model": (STRING, "rwkv"), "tokenizer.ggml.tokens": (ARRAY, (STRING, texts)),
                     "tokenizer.ggml.token_type": (ARRAY, (INT32, kinds)), "tokenizer.ggml.eos_token_id": (UINT32, 0)}
    return metadata


# ---- numbers in blocks: each function gives the blocks and the numbers that they stand for

def half(number):
    """The f16 next to a number, and its bytes."""
    content = struct.pack("<e", number)
    return struct.unpack("<e", content)[0], content


def in_blocks(tensor, dtype, n, pack):
    data, numbers = b"", []
    values = tensor.values
    for at in range(0, len(values), n):
        block, meant = pack(values[at:at + n])
        data += block
        numbers += meant
    return Tensor(dtype, tensor.shape, data), Tensor("F32", tensor.shape, struct.pack(f"<{len(numbers)}f", *numbers))


def q8_0(tensor):
    def pack(values):
        scale, content = half(max(map(abs, values)) / 127)
        integers = [max(-128, min(127, round(value / scale))) if scale else 0 for value in values]
        return content + struct.pack("<32b", *integers), [scale * integer for integer in integers]
    return in_blocks(tensor, "Q8_0", 32, pack)


def q4_0(tensor):
    def pack(values):
        scale, content = half(max(values, key=abs) / -8)
        integers = [max(0, min(15, round(value / scale + 8))) if scale else 8 for value in values]
        pairs = bytes(integers[i] | integers[i + 16] << 4 for i in range(16))
        return content + pairs, [scale * (integer - 8) for integer in integers]
    return in_blocks(tensor, "Q4_0", 32, pack)


def q6_k(tensor):
    def pack(values):
        scales = [max(-128, min(127, round(127 * max(values[at:at + 16], key=abs)))) or 1 for at in range(0, 256, 16)]
        scale, content = half(1 / 127 / 32)
        integers = [max(-32, min(31, round(value / (scale * scales[i // 16])))) for i, value in enumerate(values)]
        low, high = bytearray(128), bytearray(64)
        for half_block in range(2):
            for i in range(32):
                four = [integers[128 * half_block + 32 * quarter + i] + 32 for quarter in range(4)]
                low[64 * half_block + i] = four[0] & 15 | (four[2] & 15) << 4
                low[64 * half_block + 32 + i] = four[1] & 15 | (four[3] & 15) << 4
                high[32 * half_block + i] = four[0] >> 4 | four[1] >> 4 << 2 | four[2] >> 4 << 4 | four[3] >> 4 << 6
        block = bytes(low) + bytes(high) + struct.pack("<16b", *scales) + content
        return block, [scale * scales[i // 16] * integer for i, integer in enumerate(integers)]
    return in_blocks(tensor, "Q6_K", 256, pack)
