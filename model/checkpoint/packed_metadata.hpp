/// What a file of packed weights says besides its tensors. Such a file is a `.safetensors` file
/// whose tensors of type U8 are the panels of a matrix, which kernels read where the file is
/// mapped.
#pragma once

#include "model/checkpoint/tensor_file.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// The name in the metadata of a header under which it stands, as JSON.
inline constexpr std::string_view kPackedMetadata = "longreach";

/// The type of tensors that are panels.
inline constexpr std::string_view kPanelsType = "U8";

/// For which instruction-set paths panels are: "any", "amx" or "other", those but amx.
std::string_view isa_of(const kernels::PanelLayout& layout);

/// Errors: InputError naming the file, whose panels have that layout, for weights of another
/// format.
void require_format(const kernels::PanelLayout& layout, base::WeightFormat wanted,
                    std::string_view file);

struct PackedMetadata {
  PackedInfo info;
  /// Of each matrix that is packed, as the model has it.
  std::map<std::string, std::vector<std::size_t>, std::less<>> shapes;
  /// CRC-32 of each tensor's bytes.
  std::map<std::string, std::uint32_t, std::less<>> checksums;

  /// As JSON: {"version": 1, "weights": "int8", "isa": "any", "source": "0123456789abcdef",
  /// "shapes": {"head.weight": [256, 128]}, "crc32": {"emb.weight": "0123abcd"}}. `isa` is that
  /// of isa_of(). Equal keys take equally many bytes.
  std::string text() const;
};

/// Reads such a text; `what` stands for it in messages. Errors: InputError for anything else, also
/// for that of another version.
PackedMetadata parse_packed_metadata(std::string text, std::string_view what);

}  // namespace longreach::model
