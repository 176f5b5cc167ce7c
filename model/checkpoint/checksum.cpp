#include "model/checkpoint/checksum.hpp"

#include "kernels/base/error.hpp"

#include <libdeflate.h>

#include <algorithm>

namespace longreach::model {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{16} << 20;
/// What a thread reads at a time; it stays in an inner cache's reach.
constexpr std::size_t kThreadPieceBytes = std::size_t{1} << 20;

void compare(const ChecksummedRange& range, std::uint32_t found) {
  if (found == range.crc32) return;
  base::input_error("{}: damaged: expected checksum {:08x}, found {:08x}", range.what, range.crc32,
                    found);
}

std::uint32_t crc32_of_piece(std::span<const std::byte> piece) {
  return libdeflate_crc32(0, piece.data(), piece.size());
}

/// A product of polynomials over bits modulo that of CRC-32. The highest bit is x^0.
std::uint32_t product(std::uint32_t a, std::uint32_t b) {
  constexpr std::uint32_t kPolynomial = 0xedb88320U;  // without x^32
  std::uint32_t sum = 0;
  for (; a != 0; a <<= 1) {
    if ((a & 0x80000000U) != 0) sum ^= b;
    b = b >> 1 ^ ((b & 1U) != 0 ? kPolynomial : 0);  // times x
  }
  return sum;
}

/// x^(8 n).
std::uint32_t power(std::size_t n) {
  std::uint32_t result = 0x80000000U, square = result >> 8;
  for (; n != 0; n >>= 1) {
    if ((n & 1U) != 0) result = product(result, square);
    square = product(square, square);
  }
  return result;
}

void append_pieces(std::span<const std::byte> data, kernels::ThreadPool& pool, JoinedCrc32& sum) {
  const auto piece = [data](std::size_t i) {
    const std::size_t begin = i * kThreadPieceBytes;
    return data.subspan(begin, std::min(kThreadPieceBytes, data.size() - begin));
  };
  std::vector<std::uint32_t> pieces((data.size() + kThreadPieceBytes - 1) / kThreadPieceBytes);
  pool.for_each(pieces.size(),
                [&](std::size_t i, std::size_t) { pieces[i] = crc32_of_piece(piece(i)); });
  for (std::size_t i = 0; i < pieces.size(); ++i) sum.append(pieces[i], piece(i).size());
}

}  // namespace

std::uint32_t crc32_of(std::span<const std::byte> data, const std::function<void()>& after_piece) {
  std::uint32_t checksum = 0;
  for (std::size_t done = 0; done < data.size(); done += kPieceBytes) {
    const auto piece = data.subspan(done, std::min(kPieceBytes, data.size() - done));
    checksum = libdeflate_crc32(checksum, piece.data(), piece.size());
    if (after_piece) after_piece();
  }
  return checksum;
}

void check_crc32(const ChecksummedRange& range, const std::function<void()>& after_piece) {
  compare(range, crc32_of(range.data, after_piece));
}

void check_crc32(const ChecksummedRange& range, kernels::ThreadPool& pool) {
  JoinedCrc32 sum;
  append_pieces(range.data, pool, sum);
  compare(range, sum.value());
}

// The checksum of A B is that of A times x^(bits of B), plus that of B: what the definition inverts
// at the beginning and at the end cancels.
void JoinedCrc32::append(std::uint32_t crc32, std::size_t n_bytes) {
  if (n_bytes != n_bytes_) {
    n_bytes_ = n_bytes;
    shift_ = power(n_bytes);
  }
  value_ = product(value_, shift_) ^ crc32;
}

RowChecksums::RowChecksums(const ChecksummedRange& range, std::size_t n_rows, partition::Range used,
                           std::size_t run_rows)
    : range_(range),
      n_rows_(n_rows),
      used_(used),
      run_rows_(run_rows),
      runs_((used.size() + run_rows - 1) / run_rows) {
  LR_DCHECK(range.data.size() % n_rows == 0 && used.end <= n_rows);
}

std::span<const std::byte> RowChecksums::rows(std::size_t begin, std::size_t end) const {
  const std::size_t row_bytes = range_.data.size() / n_rows_;
  return range_.data.subspan(begin * row_bytes, (end - begin) * row_bytes);
}

void RowChecksums::read(partition::Range run) {
  runs_[(run.begin - used_.begin) / run_rows_] = crc32_of_piece(rows(run.begin, run.end));
}

void RowChecksums::compare(kernels::ThreadPool& pool) const {
  JoinedCrc32 sum;
  append_pieces(rows(0, used_.begin), pool, sum);
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    const std::size_t begin = used_.begin + i * run_rows_;
    sum.append(runs_[i], rows(begin, std::min(begin + run_rows_, used_.end)).size());
  }
  append_pieces(rows(used_.end, n_rows_), pool, sum);
  model::compare(range_, sum.value());
}

}  // namespace longreach::model
