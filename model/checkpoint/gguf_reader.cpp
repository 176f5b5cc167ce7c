#include "model/checkpoint/gguf_reader.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/byte_reader.hpp"
#include "model/checkpoint/printable.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;
using Bytes = std::span<const std::byte>;

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kMostEntries = 1 << 16;  // of either kind; far above any real file
constexpr std::size_t kLongestKey = 65535;       // bytes, as the format says
constexpr std::uint32_t kMostExtents = 4;
constexpr std::uint64_t kDefaultAlignment = 32, kLargestAlignment = 1 << 16;
constexpr std::string_view kAlignmentKey = "general.alignment";

// ---- types of metadata

enum ValueType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

/// Bytes of a value; 0 for those that have no fixed size.
std::size_t size_of_value(std::uint32_t type) {
  constexpr std::array<std::size_t, 13> kSizes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < kSizes.size() ? kSizes[type] : 0;
}

std::string_view take_string(ByteReader& reader) {
  return reader.take_text(reader.number<std::uint64_t>());
}

/// One value of a type that is no array.
GgufMetadata::Value take_value(ByteReader& reader, std::uint32_t type) {
  switch (type) {
    case kUint8:
      return std::uint64_t{reader.number<std::uint8_t>()};
    case kInt8:
      return std::int64_t{reader.number<std::int8_t>()};
    case kUint16:
      return std::uint64_t{reader.number<std::uint16_t>()};
    case kInt16:
      return std::int64_t{reader.number<std::int16_t>()};
    case kUint32:
      return std::uint64_t{reader.number<std::uint32_t>()};
    case kInt32:
      return std::int64_t{reader.number<std::int32_t>()};
    case kFloat32:
      return double{std::bit_cast<float>(reader.number<std::uint32_t>())};
    case kBool: {
      const auto value = reader.number<std::uint8_t>();
      if (value > 1) input_error("{}: expected 0 or 1 as a bool, found {}", reader.what(), value);
      return value == 1;
    }
    case kString:
      return take_string(reader);
    case kUint64:
      return reader.number<std::uint64_t>();
    case kInt64:
      return reader.number<std::int64_t>();
    case kFloat64:
      return std::bit_cast<double>(reader.number<std::uint64_t>());
    default:
      input_error("{}: its type {} is none of the format's", reader.what(), type);
  }
}

/// The bytes of a list are passed over, so that what it claims to hold costs nothing.
GgufMetadata::List take_list(ByteReader& reader) {
  GgufMetadata::List list;
  list.type = reader.number<std::uint32_t>();
  list.size = reader.number<std::uint64_t>();
  if (list.type == kString) {
    ByteReader strings = reader;
    for (std::uint64_t i = 0; i < list.size; ++i) take_string(strings);
    list.bytes = reader.take(strings.position() - reader.position());
    return list;
  }
  const std::size_t size = size_of_value(list.type);
  if (size == 0) {
    input_error("{}: expected a list of numbers or strings, found one of type {}", reader.what(),
                list.type);
  }
  std::uint64_t n_bytes = 0;
  if (__builtin_mul_overflow(list.size, size, &n_bytes)) {
    input_error("{}: a list of {} values is too long", reader.what(), list.size);
  }
  list.bytes = reader.take(n_bytes);
  return list;
}

// ---- types of tensors

struct TensorType {
  std::uint32_t number;
  std::string_view name;
  std::optional<base::DType> dtype = {};
  std::optional<BlockFormat> blocks = {};
};

// All that files of llama.cpp commonly have, so that messages can name them.
constexpr std::array kTensorTypes = {
    TensorType{0, "f32", base::DType::kF32, {}},
    TensorType{1, "f16", base::DType::kF16, {}},
    TensorType{2, "q4_0", {}, BlockFormat::kQ4_0},
    TensorType{3, "q4_1"},
    TensorType{6, "q5_0"},
    TensorType{7, "q5_1"},
    TensorType{8, "q8_0", {}, BlockFormat::kQ8_0},
    TensorType{9, "q8_1"},
    TensorType{10, "q2_K"},
    TensorType{11, "q3_K"},
    TensorType{12, "q4_K"},
    TensorType{13, "q5_K"},
    TensorType{14, "q6_K", {}, BlockFormat::kQ6K},
    TensorType{15, "q8_K"},
    TensorType{16, "iq2_xxs"},
    TensorType{17, "iq2_xs"},
    TensorType{18, "iq3_xxs"},
    TensorType{19, "iq1_s"},
    TensorType{20, "iq4_nl"},
    TensorType{21, "iq3_s"},
    TensorType{22, "iq2_s"},
    TensorType{23, "iq4_xs"},
    TensorType{28, "f64"},
    TensorType{29, "iq1_m"},
    TensorType{30, "bf16", base::DType::kBf16, {}},
};

/// Whose the bytes from begin to end of the numbers are.
struct PlacedTensor {
  std::uint64_t begin;
  std::uint64_t end;
  std::string name;
};

std::uint64_t aligned(std::uint64_t position, std::uint64_t alignment) {
  return (position + alignment - 1) / alignment * alignment;
}

class GgufReader {
 public:
  GgufReader(Bytes bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  GgufMetadata read_metadata() {
    const std::uint64_t n_values = read_counts();
    GgufMetadata::Values values;
    for (std::uint64_t i = 0; i < n_values; ++i) {
      const std::string_view key = take_string(reader_);
      if (key.size() > kLongestKey) {
        input_error("{}: the key {} has {} bytes, at most {} are read", file_, printable(key),
                    key.size(), kLongestKey);
      }
      const auto type = reader_.number<std::uint32_t>();
      const std::size_t at = reader_.position();
      ByteReader value(bytes_.subspan(at), fmt::format("{}: {}", file_, printable(key)));
      GgufMetadata::Value read =
          type == kArray ? GgufMetadata::Value(take_list(value)) : take_value(value, type);
      reader_.take(value.position());
      if (!values.emplace(key, std::move(read)).second) {
        input_error("{}: the key {} stands twice", file_, printable(key));
      }
    }
    return {file_, std::move(values)};
  }

  /// Follows read_metadata().
  TensorFile read_tensors(const GgufMetadata& metadata) {
    alignment_ = metadata.whole_number(kAlignmentKey).value_or(kDefaultAlignment);
    if (!std::has_single_bit(alignment_) || alignment_ > kLargestAlignment) {
      input_error("{}: {}: expected a power of 2 up to {}, found {}", file_, kAlignmentKey,
                  kLargestAlignment, alignment_);
    }
    for (std::uint64_t i = 0; i < n_tensors_; ++i) read_tensor();
    locate_tensors();
    return std::move(contents_);
  }

 private:
  /// The number of values; keeps that of tensors.
  std::uint64_t read_counts() {
    if (reader_.take_text(kMagic.size()) != kMagic) {
      input_error("{}: expected a GGUF file, which begins with {}", file_, kMagic);
    }
    const auto version = reader_.number<std::uint32_t>();
    if (version != 2 && version != 3) {
      input_error("{}: expected GGUF of version 2 or 3 in little-endian order, found version {}",
                  file_, version);
    }
    n_tensors_ = reader_.number<std::uint64_t>();
    const auto n_values = reader_.number<std::uint64_t>();
    if (n_tensors_ > kMostEntries || n_values > kMostEntries) {
      input_error("{}: claims {} tensors and {} values, at most {} are read", file_, n_tensors_,
                  n_values, kMostEntries);
    }
    return n_values;
  }

  void read_tensor() {
    const std::string_view name = take_string(reader_);
    const std::string what = fmt::format("{}: tensor {}", file_, printable(name));
    const auto n_dimensions = reader_.number<std::uint32_t>();
    if (n_dimensions > kMostExtents) {
      input_error("{}: has {} dimensions, at most {} are supported", what, n_dimensions,
                  kMostExtents);
    }
    Tensor tensor;
    tensor.shape.resize(n_dimensions);
    for (std::size_t i = n_dimensions; i-- > 0;) {  // the fastest one comes first
      tensor.shape[i] = reader_.number<std::uint64_t>();
    }
    const std::uint64_t n_bytes = set_type(tensor, reader_.number<std::uint32_t>(), what);
    const auto begin = reader_.number<std::uint64_t>();
    if (begin % alignment_ != 0) {
      input_error("{}: expected at a multiple of {} bytes, found at {}", what, alignment_, begin);
    }
    std::uint64_t end = 0;
    if (__builtin_add_overflow(begin, n_bytes, &end) || end > bytes_.size()) {
      input_error("{}: lies at byte {} of the numbers and has {} bytes, the file has {}", what,
                  begin, n_bytes, bytes_.size());
    }
    tensor.strides = contiguous_strides(tensor.shape);
    add_tensor(contents_.tensors, file_, name, std::move(tensor));
    ranges_.push_back({begin, end, std::string(name)});
  }

  /// Sets how the tensor keeps its numbers; returns their bytes.
  std::uint64_t set_type(Tensor& tensor, std::uint32_t number, const std::string& what) const {
    const auto* const type = std::ranges::find(kTensorTypes, number, &TensorType::number);
    if (type == kTensorTypes.end() || (!type->dtype && !type->blocks)) {
      const std::string name =
          type == kTensorTypes.end() ? fmt::format("number {}", number) : std::string(type->name);
      input_error("{}: its type {} is not supported, expected f32, f16, bf16, q8_0, q4_0 or q6_K",
                  what, name);
    }
    const std::size_t size = checked_size(tensor.shape, what);
    tensor.dtype = type->dtype.value_or(base::DType::kF32);
    tensor.blocks = type->blocks;
    std::size_t n_units = size, unit_bytes = size_of(tensor.dtype);
    if (type->blocks) {
      const std::size_t n = numbers_in_block(*type->blocks);
      if (tensor.shape.empty() || tensor.shape.back() % n != 0) {
        input_error("{}: {} of shape {}: expected rows of whole blocks of {}", what, type->name,
                    shape_text(tensor.shape), n);
      }
      n_units = size / n;
      unit_bytes = bytes_of_block(*type->blocks);
    }
    std::uint64_t n_bytes = 0;
    if (__builtin_mul_overflow(n_units, unit_bytes, &n_bytes)) {
      input_error("{}: shape {} is too large", what, shape_text(tensor.shape));
    }
    return n_bytes;
  }

  /// Numbers begin after the tensors' infos; they must leave no gap and share no byte.
  void locate_tensors() {
    if (ranges_.empty()) return;
    const std::uint64_t start = aligned(reader_.position(), alignment_);
    const std::uint64_t n_bytes = bytes_.size() < start ? 0 : bytes_.size() - start;
    std::ranges::sort(ranges_, {}, &PlacedTensor::begin);
    std::uint64_t covered = 0;
    for (const PlacedTensor& range : ranges_) {
      if (range.begin != aligned(covered, alignment_)) {
        input_error("{}: tensor {}: starts at byte {} of the numbers, the one before it ends at {}",
                    file_, range.name, range.begin, covered);
      }
      if (range.end > n_bytes) {
        input_error("{}: ends too early: tensor {} lies at bytes {} to {} of {}", file_, range.name,
                    range.begin, range.end, n_bytes);
      }
      contents_.tensors.find(range.name)->second.data =
          bytes_.subspan(static_cast<std::size_t>(start + range.begin)).data();
      covered = range.end;
    }
    if (n_bytes >= aligned(covered, alignment_) + alignment_) {
      input_error("{}: the tensors end at byte {} of {}", file_, covered, n_bytes);
    }
  }

  Bytes bytes_;
  std::string file_;
  ByteReader reader_{bytes_, file_};
  std::uint64_t n_tensors_ = 0;
  std::uint64_t alignment_ = kDefaultAlignment;
  TensorFile contents_;
  std::vector<PlacedTensor> ranges_;
};

}  // namespace

const GgufMetadata::Value* GgufMetadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

void GgufMetadata::unexpected(std::string_view key, std::string_view expected) const {
  input_error("{}: {}: expected {}, found a value of another type", file_, key, expected);
}

namespace {

/// The number, if it is a whole one that is not negative.
std::optional<std::uint64_t> as_whole_number(const GgufMetadata::Value& value) {
  if (const auto* const number = std::get_if<std::uint64_t>(&value)) return *number;
  const auto* const number = std::get_if<std::int64_t>(&value);
  if (number == nullptr || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

}  // namespace

std::optional<std::uint64_t> GgufMetadata::whole_number(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = as_whole_number(*value);
  if (!number) unexpected(key, "a whole number");
  return number;
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* const number = std::get_if<double>(value)) return *number;
  unexpected(key, "a number with a fraction");
}

std::optional<std::string_view> GgufMetadata::text(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* const text = std::get_if<std::string_view>(value)) return *text;
  unexpected(key, "a text");
}

const GgufMetadata::List* GgufMetadata::find_list(std::string_view key, std::uint64_t most) const {
  const Value* const value = find(key);
  if (value == nullptr) return nullptr;
  const auto* const list = std::get_if<List>(value);
  if (list == nullptr) unexpected(key, "a list");
  if (list->size > most) {
    input_error("{}: {}: has {} items, expected at most {}", file_, key, list->size, most);
  }
  return list;
}

std::optional<std::vector<std::string_view>> GgufMetadata::texts(std::string_view key,
                                                                 std::uint64_t most) const {
  const List* const list = find_list(key, most);
  if (list == nullptr) return std::nullopt;
  if (list->type != kString) unexpected(key, "a list of texts");
  std::vector<std::string_view> texts;
  ByteReader reader(list->bytes, file_);
  while (reader.remaining() > 0) texts.push_back(take_string(reader));
  return texts;
}

std::optional<std::vector<std::uint64_t>> GgufMetadata::whole_numbers(std::string_view key,
                                                                      std::uint64_t most) const {
  const List* const list = find_list(key, most);
  if (list == nullptr) return std::nullopt;
  if (list->type == kString) unexpected(key, "a list of whole numbers");
  std::vector<std::uint64_t> numbers;
  ByteReader reader(list->bytes, fmt::format("{}: {}", file_, key));
  while (reader.remaining() > 0) {
    const auto number = as_whole_number(take_value(reader, list->type));
    if (!number) unexpected(key, "a list of whole numbers");
    numbers.push_back(*number);
  }
  return numbers;
}

bool is_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::ranges::equal(bytes.first(kMagic.size()), std::as_bytes(std::span(kMagic)));
}

GgufFile read_gguf(std::span<const std::byte> bytes, std::string_view file) {
  GgufReader reader(bytes, file);
  GgufMetadata metadata = reader.read_metadata();
  TensorFile contents = reader.read_tensors(metadata);
  return {std::move(contents), std::move(metadata)};
}

GgufMetadata read_gguf_metadata(std::span<const std::byte> bytes, std::string_view file) {
  return GgufReader(bytes, file).read_metadata();
}

}  // namespace longreach::model
