#!/usr/bin/env python3
"""Sample prompts with the expected greedy continuation (fp32 arithmetic on the bf16 checkpoint).
usage: make_prompts.py CKPT CORPUS SEED OUT spec...   spec: kind:length:count with kind passkey|kv|copy|text"""
import sys, json
from train import *

torch.set_num_threads(1)
ck, corpus, seed, out = sys.argv[1:5]
model, data = load(ck), Data(corpus, int(seed))
n = 0
with open(out, "w") as f:
    for spec in sys.argv[5:]:
        kind, T, count = spec.split(":")
        done = 0
        while done < int(count):
            T_ = int(T)
            if kind == "passkey":
                sm, want = data.passkey(T_, key=str(data.rng.randint(10000, 99999)), exact=True); nn_ = 8
            elif kind.startswith("kv"):
                sm, want = data.kv(T_, n_needles=int(kind[2:] or 1), exact=True); nn_ = 10
            elif kind == "copy":
                sm = data.copy(T_); want = bytes(t for t, c in zip(sm[0], sm[1]) if c == 2).decode("latin1"); nn_ = len(want)
            else:
                sm = data.lm(T_); want, nn_ = None, 48
            tok = sm[0][:sm[1].index(2)] if 2 in sm[1] else sm[0][:T_]
            if 0 in tok or max(tok) > 126:
                continue
            got, _, margin = generate(model, tok, nn_, margins=True)
            text = bytes(got).decode("latin1")
            if want is not None and kind != "copy" and text.strip("\0 .") != want:
                print("skip (model wrong):", kind, T_, repr(text), want); continue
            if min(margin) < .05:                       # a near tie: another summation order could flip it
                print("skip (near tie):", kind, T_); continue
            done += 1; n += 1
            json.dump(dict(id=f"{kind}-{T_}-{done}", kind=kind, n_prompt=len(tok), prompt=bytes(tok).decode("ascii"), expected=text,
                           expected_tokens=got, answer=want, min_margin=round(min(margin), 4)), f)
            f.write("\n"); f.flush()
            print(n, kind, T_, len(tok), repr(text), "min margin %.3f" % min(margin), flush=True)
