#include "kernels/rows/rows.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows/rows.cpp"
#include "kernels/base/error.hpp"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/rows/row_ops-inl.hpp"
#include "kernels/simd/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace longreach::kernels::HWY_NAMESPACE {

using In = std::span<const float>;
using Out = std::span<float>;

/// out[i] = f(d, i) for all lanes.
template <class F>
HWY_INLINE void map(Out out, F&& f) {
  for_lanes(out.size(), [&](auto d, std::size_t i) { hn::StoreU(f(d, i), d, out.data() + i); });
}

void layer_norm(In x, In weight, In bias, float eps, Out y) {
  normalize(x.data(), weight.data(), bias.data(), x.size(), eps, y.data());
}

void token_shift(In x, In previous, In mix, Out y) {
  map(y, [&](auto d, std::size_t i) {
    const auto now = hn::LoadU(d, x.data() + i);
    const auto change = hn::Sub(hn::LoadU(d, previous.data() + i), now);
    return hn::MulAdd(change, hn::LoadU(d, mix.data() + i), now);
  });
}

void add(In x, Out y) {
  map(y, [&](auto d, std::size_t i) {
    return hn::Add(hn::LoadU(d, y.data() + i), hn::LoadU(d, x.data() + i));
  });
}

void squared_relu(Out x) {
  map(x, [&](auto d, std::size_t i) {
    const auto now = hn::LoadU(d, x.data() + i);
    const auto positive = hn::IfThenZeroElse(hn::Lt(now, hn::Zero(d)), now);  // NaN stays NaN
    return hn::Mul(positive, positive);
  });
}

void tanh(Out x) {
  map(x, [&](auto d, std::size_t i) { return hn::Tanh(d, hn::LoadU(d, x.data() + i)); });
}

void sigmoid(Out x) {
  map(x, [&](auto d, std::size_t i) { return sigmoid_of(d, hn::LoadU(d, x.data() + i)); });
}

template <class D>
HWY_INLINE hn::Vec<D> biased_sigmoid_at(D d, const float* bias, const float* x) {
  return sigmoid_of(d, hn::Add(hn::LoadU(d, bias), hn::LoadU(d, x)));
}

void biased_sigmoid(In bias, Out x) {
  map(x,
      [&](auto d, std::size_t i) { return biased_sigmoid_at(d, bias.data() + i, x.data() + i); });
}

void decay(In bias, Out x) {
  constexpr float kMinusExpMinusHalf = -0.60653065971F;
  map(x, [&](auto d, std::size_t i) {
    const auto rate = biased_sigmoid_at(d, bias.data() + i, x.data() + i);
    return exp_of(d, hn::Mul(hn::Set(d, kMinusExpMinusHalf), rate));
  });
}

void value_residual(In v_first, In bias, In x, Out v) {
  map(v, [&](auto d, std::size_t i) {
    const auto share = biased_sigmoid_at(d, bias.data() + i, x.data() + i);
    const auto now = hn::LoadU(d, v.data() + i);
    return hn::MulAdd(hn::Sub(hn::LoadU(d, v_first.data() + i), now), share, now);
  });
}

}  // namespace longreach::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longreach::kernels {
namespace {

HWY_EXPORT(layer_norm);
HWY_EXPORT(token_shift);
HWY_EXPORT(add);
HWY_EXPORT(squared_relu);
HWY_EXPORT(tanh);
HWY_EXPORT(sigmoid);
HWY_EXPORT(biased_sigmoid);
HWY_EXPORT(decay);
HWY_EXPORT(value_residual);

}  // namespace

void layer_norm(std::span<const float> x, std::span<const float> weight,
                std::span<const float> bias, float eps, std::span<float> y) noexcept {
  LR_DCHECK(weight.size() == x.size() && bias.size() == x.size() && y.size() == x.size());
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, weight, bias, eps, y);
}

void token_shift(std::span<const float> x, std::span<const float> previous,
                 std::span<const float> mix, std::span<float> y) noexcept {
  LR_DCHECK(previous.size() == x.size() && mix.size() == x.size() && y.size() == x.size());
  HWY_DYNAMIC_DISPATCH(token_shift)(x, previous, mix, y);
}

void add(std::span<const float> x, std::span<float> y) noexcept {
  LR_DCHECK(x.size() == y.size());
  HWY_DYNAMIC_DISPATCH(add)(x, y);
}

void squared_relu(std::span<float> x) noexcept { HWY_DYNAMIC_DISPATCH(squared_relu)(x); }

void tanh(std::span<float> x) noexcept { HWY_DYNAMIC_DISPATCH(tanh)(x); }

void sigmoid(std::span<float> x) noexcept { HWY_DYNAMIC_DISPATCH(sigmoid)(x); }

void biased_sigmoid(std::span<const float> bias, std::span<float> x) noexcept {
  LR_DCHECK(bias.size() == x.size());
  HWY_DYNAMIC_DISPATCH(biased_sigmoid)(bias, x);
}

void decay(std::span<const float> bias, std::span<float> x) noexcept {
  LR_DCHECK(bias.size() == x.size());
  HWY_DYNAMIC_DISPATCH(decay)(bias, x);
}

void value_residual(std::span<const float> v_first, std::span<const float> bias,
                    std::span<const float> x, std::span<float> v) noexcept {
  LR_DCHECK(v_first.size() == v.size() && bias.size() == v.size() && x.size() == v.size());
  HWY_DYNAMIC_DISPATCH(value_residual)(v_first, bias, x, v);
}

}  // namespace longreach::kernels
#endif
