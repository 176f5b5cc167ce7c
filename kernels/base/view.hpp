/// Non-owning views of rows of numbers, copies of them, and memory that owns them.
#pragma once

#include "kernels/base/error.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

namespace longreach::base {

/// `rows` rows of `cols` numbers, each row `stride` numbers after the one before.
template <typename T>
class MatView {
 public:
  MatView(T* data, std::size_t rows, std::size_t cols, std::size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}
  MatView(T* data, std::size_t rows, std::size_t cols) : MatView(data, rows, cols, cols) {}
  /// A view for writing is also a view for reading.
  // NOLINTNEXTLINE(google-explicit-constructor): a conversion that std::span has too
  operator MatView<const T>() const { return {data_, rows_, cols_, stride_}; }

  T* data() const { return data_; }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  std::size_t stride() const { return stride_; }
  std::span<T> row(std::size_t r) const {
    LR_DCHECK(r < rows_);
    return {data_ + r * stride_, cols_};
  }
  /// `count` rows from `first` on.
  MatView rows(std::size_t first, std::size_t count) const {
    LR_DCHECK(first + count <= rows_);
    return {data_ + first * stride_, count, cols_, stride_};
  }
  /// `count` columns from `first` on.
  MatView cols(std::size_t first, std::size_t count) const {
    LR_DCHECK(first + count <= cols_);
    return {data_ + first, rows_, count, stride_};
  }

 private:
  T* data_;
  std::size_t rows_, cols_, stride_;
};

/// to = from. Shapes: [n, cols] both, which may lie anywhere but not overlap.
template <typename T>
void copy_rows(std::type_identity_t<MatView<const T>> from, MatView<T> to) {
  LR_DCHECK(from.rows() == to.rows() && from.cols() == to.cols());
  for (std::size_t r = 0; r < to.rows(); ++r) std::ranges::copy(from.row(r), to.row(r).begin());
}

/// Whether large pages are asked for. They read faster but count as resident as soon as one byte is
/// written, so they are for memory that is filled completely. Small pieces share them.
enum class Pages { kSmall, kLarge };

/// Zeroed memory, aligned to 64 bytes; small pages are resident from 1 MiB on only where they have
/// been written. Thread-safe. Errors: std::bad_alloc.
void* allocate_zeroed(std::size_t bytes, Pages pages);

/// Gives back memory taken by allocate_zeroed with the same arguments.
struct FreeMemory {
  std::size_t bytes = 0;
  Pages pages = Pages::kSmall;
  void operator()(void* memory) const noexcept;
};

/// Owns `size` zeroed numbers. Move-only.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size, Pages pages = Pages::kSmall)
      : data_(static_cast<T*>(allocate_zeroed(size * sizeof(T), pages)), {size * sizeof(T), pages}),
        size_(size) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  std::span<T> span() { return {data_.get(), size_}; }
  std::span<const T> span() const { return {data_.get(), size_}; }
  T& operator[](std::size_t i) { return data_.get()[i]; }
  const T& operator[](std::size_t i) const { return data_.get()[i]; }

 private:
  std::unique_ptr<T, FreeMemory> data_;
  std::size_t size_ = 0;
};

}  // namespace longreach::base
