#include "model/checkpoint/safetensors_writer.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/matrix_rows.hpp"
#include "model/checkpoint/safetensors_types.hpp"

#include <libdeflate.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

namespace longreach::model {
namespace {

/// Large enough for the disk, small enough for a progress line and for Ctrl-C.
constexpr std::size_t kWrittenBytes = std::size_t{4} << 20;

/// Element `row`, column 0, and those that follow it, in f32.
void read_piece(const Tensor& tensor, std::size_t row, std::span<float> to) {
  if (tensor.shape.size() == 2) return read_row(tensor, row, to);
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = tensor.at(row * to.size() + i);
}

/// Appends numbers in the form that `convert` gives them.
template <typename Convert>
void append(std::span<const float> numbers, std::vector<std::byte>& bytes, Convert&& convert) {
  using Kept = decltype(convert(0.0F));
  std::size_t at = bytes.size();
  bytes.resize(at + numbers.size() * sizeof(Kept));
  for (const float number : numbers) {
    const Kept kept = convert(number);
    std::memcpy(&bytes[at], &kept, sizeof kept);
    at += sizeof kept;
  }
}

/// Refuses a number whose next one of few bits is infinite.
void check_range(float number, float kept, base::DType dtype, std::string_view name) {
  if (!std::isfinite(number) || std::isfinite(kept)) return;
  base::input_error("tensor {}: {} is too large for {}", name, number, base::name_of(dtype));
}

void append_as(base::DType dtype, std::span<const float> numbers, std::string_view name,
               std::vector<std::byte>& bytes) {
  switch (dtype) {
    case base::DType::kF32:
      return append(numbers, bytes, [](float number) { return number; });
    case base::DType::kBf16:
      return append(numbers, bytes, [&](float number) {
        const base::Bf16 kept = base::to_bf16(number);
        check_range(number, base::to_float(kept), dtype, name);
        return kept;
      });
    case base::DType::kF16:
      return append(numbers, bytes, [&](float number) {
        const std::uint16_t kept = base::to_half(number);
        check_range(number, base::half_to_float(kept), dtype, name);
        return kept;
      });
  }
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(base::OutputFile& file, std::vector<SafetensorsEntry> entries,
                                     const SafetensorsMetadata& metadata, AfterPiece after_piece)
    : file_(file),
      entries_(std::move(entries)),
      after_piece_(std::move(after_piece)),
      n_header_bytes_(header(metadata).size()) {
  for (const SafetensorsEntry& entry : entries_) n_all_ += entry.n_bytes;
}

std::string SafetensorsWriter::header(const SafetensorsMetadata& metadata) const {
  nlohmann::ordered_json object;
  object[std::string(kSafetensorsMetadata)] = metadata;
  std::size_t begin = 0;
  for (const SafetensorsEntry& entry : entries_) {
    const std::size_t end = begin + entry.n_bytes;
    object[entry.name] = {
        {"dtype", entry.type}, {"shape", entry.shape}, {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text = object.dump();
  const std::size_t n_bytes = sizeof(std::uint64_t) + text.size();
  text.append((n_bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment - n_bytes,
              ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

bool SafetensorsWriter::append(std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size(); done += kWrittenBytes) {
    const auto piece = bytes.subspan(done, std::min(kWrittenBytes, bytes.size() - done));
    file_.write_at(n_header_bytes_ + n_done_, piece);
    crc32_ = libdeflate_crc32(crc32_, piece.data(), piece.size());
    n_done_ += piece.size();
    if (!after_piece_(n_done_, n_all_)) return false;
  }
  return true;
}

bool SafetensorsWriter::append(const Tensor& tensor, base::DType dtype, std::string_view name) {
  const bool is_in_file = !tensor.made && !tensor.blocks && tensor.added == nullptr;
  if (is_in_file && tensor.dtype == dtype && tensor.is_contiguous()) {
    return append({tensor.data, tensor.stored_bytes()});
  }
  const std::size_t n_cols = tensor.shape.empty() ? 1 : tensor.shape.back();
  const std::size_t n_rows = tensor.size() / n_cols;
  std::vector<float> row(n_cols);
  std::vector<std::byte> piece;
  for (std::size_t r = 0; r < n_rows; ++r) {
    read_piece(tensor, r, row);
    if (tensor.added != nullptr &&
        !std::ranges::all_of(row, [](float n) { return std::isfinite(n); })) {
      base::input_error("tensor {}: with what is merged into it, a number is too large for {}",
                        name, base::name_of(tensor.dtype));
    }
    append_as(dtype, row, name, piece);
    if (piece.size() < kWrittenBytes && r + 1 < n_rows) continue;
    if (!append(piece)) return false;
    piece.clear();
  }
  return true;
}

std::uint32_t SafetensorsWriter::take_crc32() { return std::exchange(crc32_, 0); }

void SafetensorsWriter::write_header(const SafetensorsMetadata& metadata) {
  const std::string text = header(metadata);
  LR_CHECK(text.size() == n_header_bytes_ && n_done_ == n_all_);
  file_.write_at(0, std::as_bytes(std::span(text)));
}

bool write_safetensors(base::OutputFile& file, std::vector<OutputTensor> tensors,
                       const AfterPiece& after_piece) {
  std::ranges::sort(tensors, [](const OutputTensor& a, const OutputTensor& b) {
    return std::pair(base::size_of(b.dtype), std::string_view(a.name)) <
           std::pair(base::size_of(a.dtype), std::string_view(b.name));
  });
  std::vector<SafetensorsEntry> entries;
  for (const OutputTensor& tensor : tensors) {
    entries.push_back(
        {tensor.name, safetensors_type(tensor.dtype), tensor.numbers.shape, tensor.n_bytes()});
  }
  const SafetensorsMetadata metadata = {{"format", "pt"}};
  SafetensorsWriter writer(file, std::move(entries), metadata, after_piece);
  for (const OutputTensor& tensor : tensors) {
    if (!writer.append(tensor.numbers, tensor.dtype, tensor.name)) return false;
  }
  writer.write_header(metadata);
  return true;
}

}  // namespace longreach::model
