#include "kernels/matmul/strided_matrix.hpp"

#include "tests/support/isa_fixture.hpp"
#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

namespace longreach::kernels {
namespace {

using base::DType;

class ReadBlock : public test::EveryIsa {};
LR_ON_EVERY_ISA(ReadBlock);

/// Whether a block's numbers are those that at() gives, bit for bit, and zeros beside the matrix.
void expect_read(const StridedMatrix& source, std::size_t first_k) {
  BlockWeights block;
  for (auto& row : block) row.fill(7);
  read_block(source, first_k, block);
  for (std::size_t k = 0; k < kScaleBlock; ++k) {
    for (std::size_t c = 0; c < kPanelCols; ++c) {
      const bool inside = c < source.n_out && first_k + k < source.n_in;
      const float expected = inside ? source.at(c, first_k + k) : 0;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(block[k][c]), std::bit_cast<std::uint32_t>(expected))
          << name_of(source.dtype) << " input " << first_k + k << " column " << c << " of "
          << source.n_in << " x " << source.n_out;
    }
  }
}

TEST_P(ReadBlock, GivesEveryNumberWhereverItLies) {
  test::Random random;
  constexpr std::size_t kOffset = 3;  // numbers of a file are aligned to nothing
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (const std::size_t n_out : {1, 31, 32, 33}) {
      for (const std::size_t n_in : {1, 31, 32, 33, 96}) {
        std::vector<std::byte> bytes(kOffset + 2 * n_out * n_in * size_of(dtype));
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.whole(0, 255));
        const std::byte* const data = bytes.data() + kOffset;
        for (std::size_t k = 0; k < n_in; k += kScaleBlock) {
          expect_read({data, dtype, n_out, n_in, n_in, 1}, k);
          expect_read({data, dtype, n_out, n_in, 1, n_out}, k);
          expect_read({data, dtype, n_out, n_in, 2 * n_in, 2}, k);
        }
      }
    }
  }
}

TEST_P(ReadBlock, GivesAllNumbersOf16Bits) {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  for (const DType dtype : {DType::kBf16, DType::kF16}) {
    const std::size_t n_in = all.size() / kPanelCols;
    const StridedMatrix source{
        reinterpret_cast<const std::byte*>(all.data()), dtype, kPanelCols, n_in, n_in, 1};
    for (std::size_t k = 0; k < n_in; k += kScaleBlock) expect_read(source, k);
  }
}

}  // namespace
}  // namespace longreach::kernels
