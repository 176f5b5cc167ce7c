#!/usr/bin/env python3
"""RWKV-X oracle: the model written out in NumPy (float64), for checking other implementations.

It needs Python >= 3.8 and NumPy only; PyTorch zip-format checkpoints are read without PyTorch.
The formulas, and how they differ between the modes, are in model/model-spec.md.

Shapes in the docstrings: T tokens in a call, n tokens in the cache before the call, C channels,
H heads of N = C / H channels (N = 64), V vocabulary, B chunk size, k top-k.

    oracle.py --model M.pth --tokens ids.txt --mode moba --chunk 16 --topk 3 --calls 100,1,1,1

Attention modes (they differ only in the sparse-attention blocks):
  reference  what the released `rwkv_x` 0.1.3 package computes; depends on how tokens are split into calls
  moba       what the model was trained with (MoBA, per head); independent of the split
  full       dense causal attention; independent of the split
"""
import argparse
import collections
import dataclasses
import json
import pickle
import zipfile

import numpy as np

MODES = ("reference", "moba", "full")


@dataclasses.dataclass
class Config:
    """What a checkpoint does not hold. Defaults are those of the released package.

    kv_max, kv_min, kv_window and decode_full act in `reference` mode only.
    """
    chunk: int = 2048           # B
    topk: int = 3               # k
    kv_max: int = 20000         # evict before a call when the cache holds more than this; 0: never
    kv_min: int = 16000         # size after eviction
    kv_window: int = 2000       # newest entries, never evicted
    decode_full: bool = False   # one-token calls attend to the whole cache (attn_mode='full')


# ----------------------------------------------------------------------------- checkpoints

def read_pth(path):
    """Reads a torch.save()d flat dict (zip format) into {key: float32 array}, without PyTorch.

    A tensor is a view (offset, size, stride) of a storage; storages may be shared by several tensors.
    """
    with zipfile.ZipFile(path) as archive:
        pkl = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        folder, storages = pkl[: -len("data.pkl")], {}

        def to_float(kind, raw):
            if kind == "BFloat16Storage":
                return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
            return np.frombuffer(raw, {"HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8"}[kind]
                                 ).astype("<f4")

        def rebuild(storage, offset, size, stride, *_):
            view = np.lib.stride_tricks.as_strided(storage[offset:], size, [4 * s for s in stride])
            return np.array(view)

        class Unpickler(pickle.Unpickler):
            def find_class(self, module, name):
                if (module, name) == ("collections", "OrderedDict"):
                    return collections.OrderedDict
                if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                    return rebuild
                if module == "torch" and name.endswith("Storage"):
                    return name
                raise pickle.UnpicklingError(f"{path}: unexpected {module}.{name}")

            def persistent_load(self, pid):
                _, kind, key, _device, _numel = pid
                if key not in storages:
                    storages[key] = to_float(kind, archive.read(f"{folder}data/{key}"))
                return storages[key]

        return dict(Unpickler(archive.open(pkl)).load())


def load_checkpoint(path, dtype=np.float64):
    """{key: array}; the optional prefix 'rwkv.' is removed, sparse blocks keep 'moba.<i>.'."""
    raw = dict(np.load(path)) if str(path).endswith(".npz") else read_pth(path)
    return {k[5:] if k.startswith("rwkv.") else k: np.asarray(v, dtype) for k, v in raw.items()}


# ----------------------------------------------------------------------------- building blocks

def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x, weight, bias, eps=1e-5):
    """x (..., C), population variance over C."""
    d = x - x.mean(axis=-1, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=-1, keepdims=True) + eps) * weight + bias


def token_shift(x, prev):
    """x (T,C), prev (C) -> (T,C): row t holds token t-1."""
    return np.concatenate([prev[None], x[:-1]])


def attention(q, K, V, mask=None):
    """q (T,H,N), K, V (S,H,N), mask (T,S) true where allowed -> (T,H,N)."""
    score = np.einsum("thd,shd->hts", q, K) / np.sqrt(q.shape[-1])
    if mask is not None:
        score = np.where(mask, score, -np.inf)
    return np.einsum("hts,shd->thd", softmax(score), V)


# The smallest relative gap between the last chosen and the first rejected score seen so far.
# An implementation in lower precision may choose otherwise where this is near its rounding error.
MARGIN = {"gate": np.inf, "evict": np.inf}


def note_margin(kind, chosen, rejected):
    gap = (chosen - rejected) / np.maximum(np.maximum(np.abs(chosen), np.abs(rejected)), 1e-300)
    MARGIN[kind] = min(MARGIN[kind], float(np.min(gap)))


def top_chunks(score, k):
    """score (..., m) -> indices (..., k) of the k largest, ascending; every chunk when m <= k."""
    m = score.shape[-1]
    if m <= k:
        return np.broadcast_to(np.arange(m), score.shape)
    order = np.argsort(-score, axis=-1, kind="stable")
    if k > 0:
        ranked = np.take_along_axis(score, order, -1)
        note_margin("gate", ranked[..., k - 1], ranked[..., k])
    return np.sort(order[..., :k], axis=-1)


# ----------------------------------------------------------------------------- RWKV-7 block

def time_mix(p, x, state, v_first):
    """RWKV-7 time-mix. x (T,C) already normalised -> (T,C), v_first (T,C).

    state['S'] (H,N,N) is S[h, value channel i, key channel j]; state['att'] (C) is the last input row.
    p.get is used for v0: the first block has no value residual and defines v_first instead.
    """
    T, C = x.shape
    H, N = p["r_k"].shape
    delta = token_shift(x, state["att"]) - x
    state["att"] = x[-1]
    xr, xw, xk, xv, xa, xg = (x + delta * p["x_" + c] for c in "rwkvag")

    r, k, v = xr @ p["receptance.weight"].T, xk @ p["key.weight"].T, xv @ p["value.weight"].T
    w = np.exp(-np.exp(-0.5) * sigmoid(p["w0"] + np.tanh(xw @ p["w1"]) @ p["w2"]))   # decay in (0.545, 1)
    a = sigmoid(p["a0"] + xa @ p["a1"] @ p["a2"])                                     # in-context learning rate
    g = sigmoid(xg @ p["g1"]) @ p["g2"]                                               # output gate
    if v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * sigmoid(p["v0"] + xv @ p["v1"] @ p["v2"])             # value residual
    kappa = (k * p["k_k"]).reshape(T, H, N)                                           # removal key, unit length
    kappa = kappa / np.maximum(np.linalg.norm(kappa, axis=-1, keepdims=True), 1e-12)
    k = k * (1 + (a - 1) * p["k_a"])                                                  # replacement key
    r, w, k, v, a = (t.reshape(T, H, N) for t in (r, w, k, v, a))

    S, y = state["S"], np.empty((T, H, N), x.dtype)
    for t in range(T):   # S <- S (diag(w) - kappa (a*kappa)^T) + v k^T
        S = (S * w[t][:, None, :]
             - (S @ kappa[t][:, :, None]) * (a[t] * kappa[t])[:, None, :]
             + v[t][:, :, None] * k[t][:, None, :])
        y[t] = (S @ r[t][:, :, None])[:, :, 0]
    state["S"] = S

    y = layer_norm(y, p["ln_x.weight"].reshape(H, N), p["ln_x.bias"].reshape(H, N), eps=64e-5)  # one group a head
    y = y + (r * k * p["r_k"]).sum(axis=-1, keepdims=True) * v                                 # bonus
    return (y.reshape(T, C) * g) @ p["output.weight"].T, v_first


def channel_mix(p, x, state):
    """x (T,C) already normalised -> (T,C); state['ffn'] (C) is the last input row."""
    xk = x + (token_shift(x, state["ffn"]) - x) * p["x_k"]
    state["ffn"] = x[-1]
    return np.maximum(xk @ p["key.weight"].T, 0) ** 2 @ p["value.weight"].T


# ----------------------------------------------------------------------------- sparse-attention block

def evict(cfg, q, K, V):
    """KV-cache management of the reference. q (T,H,N), K, V (n,H,N) -> K, V (kv_min,H,N).

    Each head keeps its own kv_min - kv_window past entries, those with the most attention summed over
    the queries, and stores them by falling vote: afterwards row i is another token in every head.
    """
    n, H, N = K.shape
    if cfg.kv_max <= 0 or n <= cfg.kv_max or n <= cfg.kv_min:
        return K, V
    past, keep = n - cfg.kv_window, cfg.kv_min - cfg.kv_window
    assert keep > 0
    vote = softmax(np.einsum("thd,shd->hts", q, K[:past]) / np.sqrt(N)).sum(axis=1)        # (H, past)
    order = np.argsort(-vote, axis=1, kind="stable")
    ranked = np.take_along_axis(vote, order, 1)
    for cut in sorted({keep, *range(cfg.chunk, keep, cfg.chunk)}):   # order inside a chunk has no effect
        note_margin("evict", ranked[:, cut - 1], ranked[:, cut])
    row, head = order[:, :keep].T, np.arange(H)                                            # (keep, H), (H)
    return np.concatenate([K[row, head], K[past:]]), np.concatenate([V[row, head], V[past:]])


def attend_reference(cfg, x, q, k, v, K, V):
    """One call of the released package. x (T,C); q, k, v (T,H,N); K, V (n,H,N) -> y (T,H,N), K, V.

    T == 1 is its decode path, T > 1 its prefill path.
    """
    T, H, N = q.shape
    B, window = cfg.chunk, cfg.chunk * cfg.topk
    # Quirk: the prefill path votes with the block input x in place of the queries.
    K, V = evict(cfg, q if T == 1 else x.reshape(T, H, N), K, V)
    n = len(K)
    K_all, V_all = np.concatenate([K, k]), np.concatenate([V, v])

    if T > 1 and n + T <= window:                       # short prefill: dense causal, cache included
        y = attention(q, K_all, V_all, np.arange(n + T) <= n + np.arange(T)[:, None])
    elif T > 1:                                         # long prefill: chunk-local, the cache is ignored
        y = np.concatenate([attention(q[s:s + B], k[s:s + B], v[s:s + B], np.tri(min(B, T - s), dtype=bool))
                            for s in range(0, T, B)])   # chunks start at the first token of the call
    elif n <= window or cfg.decode_full:                # short decode: everything
        y = attention(q, K_all, V_all)
    else:                                               # long decode: k chunks, the same for all heads
        m = n // B                                      # complete chunks; the other n % B rows always count
        mean = K[:m * B].reshape(m, B, H, N).mean(axis=1)
        chosen = top_chunks(np.einsum("hd,mhd->m", q[0], mean), cfg.topk)
        rows = np.concatenate([(chosen[:, None] * B + np.arange(B)).ravel(), np.arange(m * B, n + 1)])
        y = attention(q, K_all[rows], V_all[rows])
    return y, K_all, V_all


def attend_moba(cfg, x, q, k, v, K, V):
    """Training semantics. Every query attends, per head, to its own chunk up to itself and to the
    k - 1 complete earlier chunks with the largest q . mean(K_chunk) (all of them while there are fewer)."""
    (T, H, N), n, B = q.shape, len(K), cfg.chunk
    K, V = np.concatenate([K, k]), np.concatenate([V, v])
    m = len(K) // B
    mean = K[:m * B].reshape(m, B, H, N).mean(axis=1)                                       # (m, H, N)
    head, y = np.arange(H)[:, None], np.empty_like(q)
    for t in range(T):
        pos = n + t
        c = pos // B                                                                        # own chunk
        chosen = top_chunks(np.einsum("hd,mhd->hm", q[t], mean[:c]), cfg.topk - 1)          # (H, <= k-1)
        rows = np.concatenate([(chosen[:, :, None] * B + np.arange(B)).reshape(H, -1),
                               np.broadcast_to(np.arange(c * B, pos + 1), (H, pos + 1 - c * B))], axis=1)
        weight = softmax(np.einsum("hd,hsd->hs", q[t], K[rows, head]) / np.sqrt(N))
        y[t] = np.einsum("hs,hsd->hd", weight, V[rows, head])
    return y, K, V


def attend_full(cfg, x, q, k, v, K, V):
    """Dense causal attention."""
    T, n = len(q), len(K)
    K, V = np.concatenate([K, k]), np.concatenate([V, v])
    return attention(q, K, V, np.arange(n + T) <= n + np.arange(T)[:, None]), K, V


ATTEND = {"reference": attend_reference, "moba": attend_moba, "full": attend_full}


def sparse_attention(p, x, state, cfg, mode):
    """x (T,C) already normalised -> (T,C). state['K'], state['V'] (n,H,N). No positional encoding."""
    T, C = x.shape
    q, k, v = ((x @ p[name + ".weight"].T).reshape(T, -1, 64) for name in ("receptance", "key", "value"))
    y, state["K"], state["V"] = ATTEND[mode](cfg, x, q, k, v, state["K"], state["V"])
    return y.reshape(T, C) @ p["output.weight"].T


# ----------------------------------------------------------------------------- the model

class Model:
    def __init__(self, weights, config=Config()):
        """weights as from load_checkpoint(); vectors may carry leading unit dimensions."""
        self.cfg, self.w = config, weights
        self.vocab, self.C = weights["emb.weight"].shape
        self.n_rwkv = 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("blocks."))
        self.n_moba = len({k.split(".")[1] for k in weights if k.startswith("moba.")})
        self.order = block_order(self.n_rwkv, self.n_moba)
        self.part = {}
        for key, value in weights.items():
            group, _, name = key.rpartition(".att.") if ".att." in key else key.rpartition(".ffn.")
            if group:
                part = "att" if ".att." in key else "ffn"
                flat = value.reshape(-1) if value.ndim == 3 else value
                self.part.setdefault((group, part), {})[name] = flat

    def new_state(self):
        C, dtype = self.C, self.w["emb.weight"].dtype
        state = {}
        for name in self.order:
            state[name] = {"ffn": np.zeros(C, dtype)}
            if name.startswith("moba"):
                state[name].update(K=np.zeros((0, C // 64, 64), dtype), V=np.zeros((0, C // 64, 64), dtype))
            else:
                H, N = self.part["blocks.0", "att"]["r_k"].shape
                state[name].update(att=np.zeros(C, dtype), S=np.zeros((H, N, N), dtype))
        return state

    def forward(self, tokens, state, mode, trace=None):
        """One call: tokens (T) -> logits (T,V); state is updated in place.

        trace, a dict, receives every block's output (T,C) under the block's name."""
        w = self.w
        norm = lambda x, name: layer_norm(x, w[name + ".weight"], w[name + ".bias"])
        x = norm(w["emb.weight"][np.asarray(tokens)], "blocks.0.ln0")
        v_first = None
        for name in self.order:
            s, att, ffn = state[name], self.part[name, "att"], self.part[name, "ffn"]
            if name.startswith("moba"):
                y = sparse_attention(att, norm(x, name + ".ln1"), s, self.cfg, mode)
            else:
                y, v_first = time_mix(att, norm(x, name + ".ln1"), s, v_first)
            x = x + y
            x = x + channel_mix(ffn, norm(x, name + ".ln2"), s)
            if trace is not None:
                trace[name] = x
        return norm(x, "ln_out") @ w["head.weight"].T

    def run(self, tokens, calls, mode, trace=None):
        """Feeds tokens in calls of the given lengths -> logits (sum(calls), V)."""
        state, out, at, traces = self.new_state(), [], 0, []
        for length in calls:
            traces.append({})
            out.append(self.forward(tokens[at:at + length], state, mode, traces[-1] if trace is not None else None))
            at += length
        if trace is not None:
            trace.update({name: np.concatenate([t[name] for t in traces]) for name in self.order})
        return np.concatenate(out)


def block_order(n_rwkv, n_moba):
    """Names of the executed blocks. interval = n_rwkv // n_moba RWKV blocks come before every sparse block;
    the n_rwkv % n_moba RWKV blocks left over at the end are in the checkpoint but never executed."""
    if n_moba == 0:
        return [f"blocks.{i}" for i in range(n_rwkv)]
    interval, order = n_rwkv // n_moba, []
    for j in range(n_moba):
        order += [f"blocks.{i}" for i in range(j * interval, (j + 1) * interval)] + [f"moba.{j}"]
    return order


# ----------------------------------------------------------------------------- command line

def parse_calls(text, total):
    """'100,1,1' or '100,1*20,5' -> list of lengths; None: one call."""
    if text is None:
        return [total]
    calls = []
    for item in text.split(","):
        length, _, times = item.partition("*")
        calls += [int(length)] * int(times or 1)
    return calls


def read_tokens(path):
    """Token ids from .npy, JSON list, or text separated by commas or blanks."""
    if path.endswith(".npy"):
        return [int(t) for t in np.load(path)]
    text = open(path).read()
    return json.loads(text) if text.lstrip().startswith("[") else [int(t) for t in text.replace(",", " ").split()]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="checkpoint, .pth or .npz")
    ap.add_argument("--tokens", required=True, help="token ids: .npy, JSON list or text")
    ap.add_argument("--mode", choices=MODES, default="moba")
    ap.add_argument("--calls", help="lengths of the calls, e.g. 1000,1,1 or 1000,1*200; default: one call")
    ap.add_argument("--chunk", type=int, default=Config.chunk)
    ap.add_argument("--topk", type=int, default=Config.topk)
    ap.add_argument("--kv-max", type=int, default=Config.kv_max)
    ap.add_argument("--kv-min", type=int, default=Config.kv_min)
    ap.add_argument("--kv-window", type=int, default=Config.kv_window)
    ap.add_argument("--decode-full", action="store_true")
    ap.add_argument("--positions", help="comma-separated positions to save; default: all")
    ap.add_argument("--out", help="save the logits there (.npy, float32)")
    ap.add_argument("--trace", help="save every block's output there (.npz, float32)")
    ap.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    args = ap.parse_args()

    cfg = Config(args.chunk, args.topk, args.kv_max, args.kv_min, args.kv_window, args.decode_full)
    model = Model(load_checkpoint(args.model, np.dtype(args.dtype)), cfg)
    tokens = read_tokens(args.tokens)
    calls = parse_calls(args.calls, len(tokens))
    trace = {} if args.trace else None
    logits = model.run(tokens, calls, args.mode, trace)
    end = 0
    for length in calls:
        end += length
        best = np.argsort(-logits[end - 1])[:5]
        print(f"position {end - 1}:", "  ".join(f"{i} {logits[end - 1, i]:.6f}" for i in best))
    print("smallest relative margins:", MARGIN)
    if args.positions:
        logits = logits[[int(i) for i in args.positions.split(",")]]
    if args.out:
        np.save(args.out, logits.astype(np.float32))
    if args.trace:
        np.savez(args.trace, **{k: v.astype(np.float32) for k, v in trace.items()})


if __name__ == "__main__":
    main()
