/// The RWKV-7 state recurrence of one head, from projections to the gated output.
#pragma once

#include "kernels/base/view.hpp"

#include <cstddef>
#include <span>

namespace longreach::kernels {

/// Channels of a head; every published RWKV-7 and RWKV-X model has this size.
inline constexpr std::size_t kHeadSize = 64;

/// Numbers in the state of a head: state[j * 64 + i] is S[i][j], value channel i, key channel j.
inline constexpr std::size_t kHeadStateSize = kHeadSize * kHeadSize;

/// A head's parameters, 64 numbers each.
struct TimeMixHead {
  std::span<const float> k_k, k_a, r_k, norm_weight, norm_bias;
};

/// A head's inputs for T tokens, [T, 64] each: receptance, decay, key (before k_a), value (after
/// the value residual), in-context learning rate, output gate.
struct TimeMixInputs {
  base::MatView<const float> r, w, k, v, a, g;
};

/// For every token in order:
///   kappa = z / max(|z|, 1e-12), z = k * k_k;   k = k * (1 + (a - 1) * k_a)
///   S = S diag(w) - (S kappa^T)(a * kappa) + v^T k;   y = S r^T
///   out = (GroupNorm(y; eps 64e-5) + (sum r * k * r_k) v) * g
/// Shapes:   state kHeadStateSize, updated; out [T, 64], may not overlap the inputs.
/// Numerics: f32; sums with S over key channels ascending, the other ones as in layer_norm() of
/// rows.hpp.       Threads: single-threaded, re-entrant.
/// Source:   model-spec section 2 ("x070").
void time_mix_head(const TimeMixHead& head, const TimeMixInputs& inputs, std::span<float> state,
                   base::MatView<float> out) noexcept;

}  // namespace longreach::kernels
