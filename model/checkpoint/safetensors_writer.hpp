/// Writes `.safetensors` files piece by piece, so that no more than a piece of a model is in
/// memory. Used by launch/commands/convert and model/packed_weights.
#pragma once

#include "kernels/base/output_file.hpp"
#include "kernels/base/types.hpp"
#include "model/checkpoint/tensor.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// Called after each piece with the bytes of tensors that are written, and with those of all;
/// false: stop here.
using AfterPiece = std::function<bool(std::size_t n_done, std::size_t n_all)>;

/// What a header says of a tensor.
struct SafetensorsEntry {
  std::string name;
  std::string_view type;  ///< "F32"
  std::vector<std::size_t> shape;
  std::size_t n_bytes = 0;
};

/// What a header says besides tensors: texts by name.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// One file. Tensors begin at a multiple of 64 bytes, and each where the one before ends. Errors,
/// of all calls: those of the file.
/// Source: the format's description at github.com/huggingface/safetensors.
class SafetensorsWriter {
 public:
  /// Nothing is written yet. Requires: the file, and what `after_piece` refers to, outlive this.
  SafetensorsWriter(base::OutputFile& file, std::vector<SafetensorsEntry> entries,
                    const SafetensorsMetadata& metadata, AfterPiece after_piece);

  /// The next bytes of tensors, in the order of entries. False if `after_piece` ended it.
  bool append(std::span<const std::byte> bytes);
  /// The same for the numbers of a tensor in row-major order, kept as `dtype`; `name` is for
  /// messages. Errors: InputError also for a number that the dtype cannot hold.
  bool append(const Tensor& tensor, base::DType dtype, std::string_view name);
  /// CRC-32 of the bytes appended since the last call.
  std::uint32_t take_crc32();
  /// Writes the header. Requires: the metadata take as many bytes as those before.
  void write_header(const SafetensorsMetadata& metadata);

 private:
  std::string header(const SafetensorsMetadata& metadata) const;

  base::OutputFile& file_;
  std::vector<SafetensorsEntry> entries_;
  AfterPiece after_piece_;
  std::size_t n_header_bytes_, n_done_ = 0, n_all_ = 0;
  std::uint32_t crc32_ = 0;
};

/// A tensor of a file that is to be written.
struct OutputTensor {
  std::string name;
  base::DType dtype = base::DType::kF32;  ///< How the file keeps its numbers,
  Tensor numbers;                         ///< and what they are.

  std::size_t n_bytes() const { return numbers.size() * base::size_of(dtype); }
};

/// Writes a whole file: wider numbers first, so that all are aligned, then by name. Its metadata
/// say that it is one of torch's tensors, as other programs want to read. False if `after_piece`
/// ended it. Errors: as above.
bool write_safetensors(base::OutputFile& file, std::vector<OutputTensor> tensors,
                       const AfterPiece& after_piece);

}  // namespace longreach::model
