#include "kernels/matmul/amx_product.hpp"

// Tests link a model of the instructions in place of this file, so it holds nothing else.

#if defined(__x86_64__)

#include "kernels/matmul/amx_kernel.hpp"

#include <asm/prctl.h>
#include <cpuid.h>

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace longreach::kernels {
namespace {

/// Written out, as gcc 12's own functions do not say which memory the instructions read.
struct AmxTiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
  static void release() { asm volatile("tilerelease"); }
  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, std::size_t row_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
                 :
                 : "r"(from), "r"(row_bytes), "i"(kTile)
                 : "memory");
  }
  template <int kTile>
  static void store(void* to, std::size_t row_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
                 :
                 : "r"(to), "r"(row_bytes), "i"(kTile)
                 : "memory");
  }
  template <int kSum, int kX, int kWeight>
  static void add_bf16_products() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kX), "i"(kWeight));
  }
  template <int kSum, int kX, int kWeight>
  static void add_signed_products() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kX), "i"(kWeight));
  }
  template <int kSum, int kX, int kWeight>
  static void add_unsigned_products() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kX), "i"(kWeight));
  }
};

bool cpu_has_amx() {
  constexpr unsigned kOsxsave = 1U << 27;                    // leaf 1, ecx
  constexpr unsigned kAll = 1U << 22 | 1U << 24 | 1U << 25;  // leaf 7, edx: bf16, tiles, bytes
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsxsave) == 0) return false;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & kAll) == kAll;
}

/// The system saves tiles only for processes that asked for it, all of whose threads then may use
/// them.
bool system_lets_use_tiles() {
  constexpr unsigned kTileConfig = 17, kTileData = 18;  // components of the saved state
  constexpr std::uint32_t kBoth = 1U << kTileConfig | 1U << kTileData;
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kBoth) == kBoth && ::syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, kTileData) == 0;
}

}  // namespace

bool amx_available() {
  static const bool available = cpu_has_amx() && system_lets_use_tiles();
  return available;
}

void block_product(const TermRows<1>& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxKernel<AmxTiles, 1>(x, panels, panel_stride, start)(y);
}

void block_product(const TermRows<2>& x, const Bf16Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxKernel<AmxTiles, 2>(x, panels, panel_stride, start)(y);
}

void block_product(const ByteRows& x, const Int8Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxByteKernel<AmxTiles, Int8Block>(x, panels, panel_stride, start)(y);
}

void block_product(const ByteRows& x, const Int4Block* panels, std::size_t panel_stride,
                   base::MatView<float> y, Start start) noexcept {
  AmxByteKernel<AmxTiles, Int4Block>(x, panels, panel_stride, start)(y);
}

}  // namespace longreach::kernels

#else

namespace longreach::kernels {

bool amx_available() { return false; }

void block_product(const TermRows<1>&, const Bf16Block*, std::size_t, base::MatView<float>,
                   Start) noexcept {
  LR_CHECK(amx_available());
}

void block_product(const TermRows<2>&, const Bf16Block*, std::size_t, base::MatView<float>,
                   Start) noexcept {
  LR_CHECK(amx_available());
}

void block_product(const ByteRows&, const Int8Block*, std::size_t, base::MatView<float>,
                   Start) noexcept {
  LR_CHECK(amx_available());
}

void block_product(const ByteRows&, const Int4Block*, std::size_t, base::MatView<float>,
                   Start) noexcept {
  LR_CHECK(amx_available());
}

}  // namespace longreach::kernels

#endif
