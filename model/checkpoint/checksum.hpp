/// Checksums of parts of a file (CRC-32), of the whole or by pieces that several threads read.
#pragma once

#include "kernels/threads/parallel.hpp"
#include "partition/ownership.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace longreach::model {

/// A part of a file with the checksum its container gives for it.
struct ChecksummedRange {
  std::string what;  ///< File and entry, for messages.
  std::span<const std::byte> data;
  std::uint32_t crc32 = 0;
};

/// The checksum of data, which are read in pieces of 16 MiB; calls `after_piece` after each, so
/// that the caller can let go of its pages.
std::uint32_t crc32_of(std::span<const std::byte> data,
                       const std::function<void()>& after_piece = {});

/// Compares the checksum, read in the same way. Errors: InputError if it is another one.
void check_crc32(const ChecksummedRange& range, const std::function<void()>& after_piece = {});

/// The same, read by all threads.
void check_crc32(const ChecksummedRange& range, kernels::ThreadPool& pool);

/// The checksum of pieces of data, one after the other, made of theirs.
class JoinedCrc32 {
 public:
  void append(std::uint32_t crc32, std::size_t n_bytes);
  std::uint32_t value() const { return value_; }

 private:
  std::uint32_t value_ = 0;
  std::size_t n_bytes_ = 0;            ///< Of the last piece,
  std::uint32_t shift_ = 0x80000000U;  ///< and x^(8 n_bytes_).
};

/// Compares the checksum of a matrix's rows, which lie one after the other, while threads read them
/// a run at a time.
class RowChecksums {
 public:
  /// Of a range that is n_rows rows, of which `used` will be read, in runs of at most `run_rows`
  /// that begin at multiples of it from used.begin on. The range must outlive it.
  RowChecksums(const ChecksummedRange& range, std::size_t n_rows, partition::Range used,
               std::size_t run_rows);

  /// Reads a run. Runs may be read at once by several threads.
  void read(partition::Range rows);
  /// Reads what is not used and compares, when all runs have been read.
  /// Errors: InputError if the checksum is another one.
  void compare(kernels::ThreadPool& pool) const;

 private:
  std::span<const std::byte> rows(std::size_t begin, std::size_t end) const;

  const ChecksummedRange& range_;
  std::size_t n_rows_;
  partition::Range used_;
  std::size_t run_rows_;
  std::vector<std::uint32_t> runs_;
};

}  // namespace longreach::model
