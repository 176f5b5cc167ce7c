#include "dist/trace/fingerprints.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/hash.hpp"

#include <array>

namespace longreach::dist {
namespace {

constexpr std::string_view kNone = "-";

/// Tensors in the order a block computes them.
constexpr std::array<std::string_view, 12> kTensors{
    "r", "k", "v", "w", "a", "g", "q", "choice", "partial", "heads", "mix", "output"};

std::size_t step_of(std::string_view tensor) {
  return static_cast<std::size_t>(std::ranges::find(kTensors, tensor) - kTensors.begin());
}

}  // namespace

FingerprintFile::FingerprintFile(const std::filesystem::path& file, std::size_t rank,
                                 std::size_t shard)
    : shard_(shard) {
  const std::filesystem::path own = fmt::format("{}.{}", file.string(), rank);
  out_.open(own);
  if (!out_) base::input_error("--fingerprints: {} cannot be written", own.string());
}

void FingerprintFile::write(std::size_t row, std::string_view tensor, std::string_view head,
                            std::string_view chunk, std::span<const std::byte> bytes) {
  out_ << fmt::format("{} {} {} {} {} {} {:016x}\n", step_->position_of(row), block_,
                      step_of(tensor), tensor, head, chunk, base::fnv1a(bytes));
}

void FingerprintFile::see_rows(std::string_view tensor, base::MatView<const float> rows) {
  if (shard_ != 0) return;
  for (std::size_t t = 0; t < rows.rows(); ++t) {
    write(t, tensor, kNone, kNone, std::as_bytes(rows.row(t)));
  }
}

void FingerprintFile::see_heads(std::string_view tensor, std::size_t first_head,
                                base::MatView<const float> columns) {
  for (std::size_t t = 0; t < columns.rows(); ++t) {
    for (std::size_t i = 0; i < columns.cols() / kernels::kHeadSize; ++i) {
      write(t, tensor, std::to_string(first_head + i), kNone,
            std::as_bytes(columns.row(t).subspan(i * kernels::kHeadSize, kernels::kHeadSize)));
    }
  }
}

void FingerprintFile::see_choice(std::size_t head, std::size_t query,
                                 std::span<const std::uint32_t> chunks) {
  if (shard_ == 0) write(query, "choice", std::to_string(head), kNone, std::as_bytes(chunks));
}

void FingerprintFile::see_partial(std::size_t head, std::size_t query, std::size_t chunk,
                                  const kernels::Partial& partial) {
  const std::lock_guard lock(mutex_);
  write(query, "partial", std::to_string(head), std::to_string(chunk),
        std::as_bytes(std::span(&partial, 1)));
}

}  // namespace longreach::dist
