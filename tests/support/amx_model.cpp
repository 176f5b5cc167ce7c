/// Stands in for kernels/amx_product.cpp: programs linked with this file have a path "amx" on every
/// machine, which computes by the model.
#include "tests/support/amx_model.hpp"

namespace longreach::kernels {

bool amx_available() { return true; }

void block_product(const TermRows& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxKernel<test::AmxModel>(x, panels, panel_stride, start)(y);
}

}  // namespace longreach::kernels
