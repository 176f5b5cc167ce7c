/// Element-wise steps of a block, each on one row (one token). Formulas: model/model-spec.md,
/// sections 1 to 3. Spans of one call have equal lengths; an output may be one of the inputs, but
/// not overlap it otherwise; nothing allocates; all are single-threaded, re-entrant, and compute an
/// element from its index alone or by a fixed order of additions. What meets a NaN becomes one.
#pragma once

#include <span>

namespace longreach::kernels {

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, with the population variance. Sums by 16
/// running sums (element i goes to sum i mod 16), folded by halves.
void layer_norm(std::span<const float> x, std::span<const float> weight,
                std::span<const float> bias, float eps, std::span<float> y) noexcept;

/// Token shift: y = x + (previous - x) * mix.
void token_shift(std::span<const float> x, std::span<const float> previous,
                 std::span<const float> mix, std::span<float> y) noexcept;

/// y = y + x: the residual connection.
void add(std::span<const float> x, std::span<float> y) noexcept;

/// x = max(0, x)^2: the channel mix's activation.
void squared_relu(std::span<float> x) noexcept;

/// x = tanh(x).
void tanh(std::span<float> x) noexcept;

/// x = sigmoid(x).
void sigmoid(std::span<float> x) noexcept;

/// x = sigmoid(bias + x): the in-context learning rate.
void biased_sigmoid(std::span<const float> bias, std::span<float> x) noexcept;

/// x = exp(-e^(-1/2) sigmoid(bias + x)): the decay, in (0.5452, 1).
void decay(std::span<const float> bias, std::span<float> x) noexcept;

/// v = v + (v_first - v) * sigmoid(bias + x): the value residual.
void value_residual(std::span<const float> v_first, std::span<const float> bias,
                    std::span<const float> x, std::span<float> v) noexcept;

}  // namespace longreach::kernels
