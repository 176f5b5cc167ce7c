#include "model/checkpoint/packed_metadata.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "model/checkpoint/printable.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;
using base::WeightFormat;
using Json = nlohmann::json;

constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kChecksumDigits = 8;

/// The layout that the two words mean together.
std::optional<kernels::PanelLayout> layout_named(std::string_view weights, std::string_view isa) {
  for (const auto format :
       {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const bool has_bf16_blocks : {false, true}) {
      const kernels::PanelLayout layout{format, has_bf16_blocks};
      const bool is_one = format == WeightFormat::kBf16 || !has_bf16_blocks;
      if (is_one && name_of(format) == weights && isa_of(layout) == isa) return layout;
    }
  }
  return std::nullopt;
}

const Json& required(const Json& object, const char* key, std::string_view what) {
  const auto found = object.find(key);
  if (found == object.end()) input_error("{}: {} is missing", what, key);
  return *found;
}

std::string text_entry(const Json& object, const char* key, std::string_view what) {
  const Json& value = required(object, key, what);
  if (!value.is_string()) input_error("{}: {}: expected a text", what, key);
  return value.get<std::string>();
}

const Json& object_entry(const Json& object, const char* key, std::string_view what) {
  const Json& value = required(object, key, what);
  if (!value.is_object()) input_error("{}: {}: expected an object", what, key);
  return value;
}

std::vector<std::size_t> parse_shape(const Json& value, std::string_view name,
                                     std::string_view what) {
  std::vector<std::size_t> shape;
  if (value.is_array()) {
    for (const Json& extent : value) {
      if (const auto number = base::whole_number(extent)) shape.push_back(*number);
    }
  }
  if (shape.empty() || shape.size() != value.size()) {
    input_error("{}: shape of {}: expected whole numbers, found {}", what, printable(name),
                base::json_text(value));
  }
  static_cast<void>(checked_size(shape, fmt::format("{}: {}", what, printable(name))));
  return shape;
}

std::uint32_t parse_checksum(const Json& value, std::string_view name, std::string_view what) {
  std::uint32_t checksum = 0;
  if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    const char* const end = digits.data() + digits.size();
    const auto [rest, error] = std::from_chars(digits.data(), end, checksum, 16);
    if (error == std::errc() && rest == end && digits.size() == kChecksumDigits) return checksum;
  }
  input_error("{}: crc32 of {}: expected {} hexadecimal digits, found {}", what, printable(name),
              kChecksumDigits, base::json_text(value));
}

}  // namespace

std::string_view isa_of(const kernels::PanelLayout& layout) {
  if (layout.format != WeightFormat::kBf16) return "any";
  return layout.has_bf16_blocks ? "amx" : "other";
}

void require_format(const kernels::PanelLayout& layout, base::WeightFormat wanted,
                    std::string_view file) {
  if (layout.format == wanted) return;
  input_error("{}: its weights are packed as {} and cannot be run as {}", file,
              name_of(layout.format), name_of(wanted));
}

std::string PackedMetadata::text() const {
  nlohmann::ordered_json object = {{"version", kVersion},
                                   {"weights", name_of(info.layout.format)},
                                   {"isa", isa_of(info.layout)},
                                   {"source", info.source},
                                   {"shapes", shapes}};
  nlohmann::ordered_json& crc32 = object["crc32"] = nlohmann::ordered_json::object();
  for (const auto& [name, checksum] : checksums) crc32[name] = fmt::format("{:08x}", checksum);
  return object.dump();
}

PackedMetadata parse_packed_metadata(std::string text, std::string_view what) {
  const Json object = base::parse_json(std::move(text), what);
  if (!object.is_object()) input_error("{}: expected a JSON object", what);
  const auto version = base::whole_number(required(object, "version", what));
  if (version != kVersion) {
    input_error("{}: expected version {} of packed weights, found {}: convert the model again",
                what, kVersion, base::json_text(object["version"]));
  }
  PackedMetadata metadata;
  const std::string weights = text_entry(object, "weights", what);
  const std::string isa = text_entry(object, "isa", what);
  const auto layout = layout_named(weights, isa);
  if (!layout) {
    input_error("{}: there are no weights '{}' for instruction sets '{}'", what, printable(weights),
                printable(isa));
  }
  metadata.info = {*layout, text_entry(object, "source", what)};
  for (const auto& [name, shape] : object_entry(object, "shapes", what).items()) {
    metadata.shapes.emplace(name, parse_shape(shape, name, what));
  }
  for (const auto& [name, checksum] : object_entry(object, "crc32", what).items()) {
    metadata.checksums.emplace(name, parse_checksum(checksum, name, what));
  }
  return metadata;
}

}  // namespace longreach::model
