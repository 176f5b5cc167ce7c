/// Stands in for kernels/matmul/amx_product.cpp: programs linked with this file have a path "amx"
/// on every machine, which computes by the model.
#include "tests/support/amx_model.hpp"

namespace longreach::kernels {

bool amx_available() { return true; }

void block_product(const TermRows<1>& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxKernel<test::AmxModel, 1>(x, panels, panel_stride, start)(y);
}

void block_product(const TermRows<2>& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxKernel<test::AmxModel, 2>(x, panels, panel_stride, start)(y);
}

void block_product(const ByteRows& x, const Int8Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxByteKernel<test::AmxModel, Int8Block>(x, panels, panel_stride, start)(y);
}

void block_product(const ByteRows& x, const Int4Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxByteKernel<test::AmxModel, Int4Block>(x, panels, panel_stride, start)(y);
}

}  // namespace longreach::kernels
