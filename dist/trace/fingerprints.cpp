#include "dist/trace/fingerprints.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/hash.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

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

std::filesystem::path fingerprint_file(std::filesystem::path file, std::size_t rank) {
  return file += fmt::format(".{}", rank);
}

FingerprintFile::FingerprintFile(const std::filesystem::path& file, std::size_t rank,
                                 std::size_t shard)
    : file_(fingerprint_file(file, rank)), shard_(shard) {
  file_.open();
}

void FingerprintFile::write_lines() {
  file_.write(lines_);
  lines_.clear();
}

void FingerprintFile::finish() {
  write_lines();
  file_.finish();
}

void FingerprintFile::begin_block(std::size_t block) {
  write_lines();
  block_ = block;
}

void FingerprintFile::add_line(std::size_t row, std::string_view tensor, std::string_view head,
                               std::string_view chunk, std::span<const std::byte> bytes) {
  fmt::format_to(std::back_inserter(lines_), "{} {} {} {} {} {} {:016x}\n", step_->position_of(row),
                 block_, step_of(tensor), tensor, head, chunk, base::fnv1a(bytes));
}

void FingerprintFile::see_rows(std::string_view tensor, base::MatView<const float> rows) {
  if (shard_ != 0) return;
  for (std::size_t t = 0; t < rows.rows(); ++t) {
    add_line(t, tensor, kNone, kNone, std::as_bytes(rows.row(t)));
  }
}

void FingerprintFile::see_heads(std::string_view tensor, std::size_t first_head,
                                base::MatView<const float> columns) {
  for (std::size_t t = 0; t < columns.rows(); ++t) {
    for (std::size_t i = 0; i < columns.cols() / kernels::kHeadSize; ++i) {
      add_line(t, tensor, std::to_string(first_head + i), kNone,
               std::as_bytes(columns.row(t).subspan(i * kernels::kHeadSize, kernels::kHeadSize)));
    }
  }
}

void FingerprintFile::see_choice(std::size_t head, std::size_t query,
                                 std::span<const partition::GlobalChunk> chunks) {
  if (shard_ == 0) add_line(query, "choice", std::to_string(head), kNone, std::as_bytes(chunks));
}

void FingerprintFile::see_partial(std::size_t head, std::size_t query, partition::GlobalChunk chunk,
                                  const kernels::Partial& partial) {
  const std::lock_guard lock(mutex_);
  add_line(query, "partial", std::to_string(head), std::to_string(number_of(chunk)),
           std::as_bytes(std::span(&partial, 1)));
}

}  // namespace longreach::dist
