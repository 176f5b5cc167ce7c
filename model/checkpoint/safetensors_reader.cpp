#include "model/checkpoint/safetensors_reader.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "model/checkpoint/byte_reader.hpp"
#include "model/checkpoint/packed_metadata.hpp"
#include "model/checkpoint/printable.hpp"
#include "model/checkpoint/safetensors_types.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;
using Json = nlohmann::json;

constexpr std::uint64_t kLongestHeader = 100'000'000;  // bytes, as the format says
constexpr std::size_t kMostNumbers = 64;               // in a shape; far above any real one

std::optional<base::DType> dtype_named(std::string_view name) {
  for (const auto dtype : {base::DType::kF32, base::DType::kBf16, base::DType::kF16}) {
    if (name == safetensors_type(dtype)) return dtype;
  }
  return std::nullopt;
}

/// A range of the bytes behind the header, and whose it is.
struct TensorRange {
  std::size_t begin;
  std::size_t end;
  std::string name;
};

/// Takes the header's JSON as events, so that nothing is built that the format does not foresee:
/// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"key":
/// "text"}}
class HeaderReader : public Json::json_sax_t {
 public:
  HeaderReader(std::span<const std::byte> data, std::string_view file) : data_(data), file_(file) {}

  /// `begin` is where data begin in the file.
  TensorFile take_contents(std::size_t begin) {
    check_coverage();
    TensorFile contents{std::move(tensors_), {}};
    if (const auto text = metadata_.find(kPackedMetadata); text != metadata_.end()) {
      add_packed(std::move(text->second), begin, contents);
    } else if (!bytes_.empty()) {
      input_error("{}: tensor {}: its type '{}' is not supported, expected F32, BF16 or F16", file_,
                  printable(bytes_.begin()->first), kPanelsType);
    }
    return contents;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) return enter(Place::kHeader);
    if (place_ != Place::kHeader) unexpected("an object");
    if (key_ == kSafetensorsMetadata) return enter(Place::kMetadata);
    name_ = key_;
    dtype_.reset();
    shape_.reset();
    offsets_.reset();
    return enter(Place::kTensor);
  }
  bool end_object() override {
    if (place_ == Place::kTensor) add_current_tensor();
    return enter(Place::kHeader);
  }
  bool key(string_t& text) override {
    key_ = std::move(text);
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::kTensor && key_ == "shape" && !shape_) {
      shape_.emplace();
      return enter(Place::kShape);
    }
    if (place_ == Place::kTensor && key_ == "data_offsets" && !offsets_) {
      offsets_.emplace();
      return enter(Place::kOffsets);
    }
    unexpected("a list");
  }
  bool end_array() override { return enter(Place::kTensor); }
  bool number_unsigned(number_unsigned_t number) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) unexpected("a number");
    auto& numbers = place_ == Place::kShape ? *shape_ : *offsets_;
    if (numbers.size() == kMostNumbers) unexpected("a long list");
    numbers.push_back(number);
    return true;
  }
  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) {
      metadata_.emplace(key_, std::move(text));
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype" || dtype_) unexpected("a string");
    dtype_ = std::move(text);
    return true;
  }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { unexpected("a fraction"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;  // base::parse_json has thrown
  }

 private:
  enum class Place { kStart, kHeader, kMetadata, kTensor, kShape, kOffsets };

  [[noreturn]] void unexpected(std::string_view found) const {
    input_error("{}: header: unexpected {} at '{}'{}", file_, found, printable(key_),
                name_.empty() ? "" : fmt::format(" in or after tensor '{}'", printable(name_)));
  }

  bool enter(Place place) {
    place_ = place;
    return true;
  }

  void add_current_tensor() {
    const std::string what = fmt::format("{}: tensor {}", file_, printable(name_));
    if (!dtype_ || !shape_ || !offsets_ || offsets_->size() != 2) {
      input_error("{}: expected dtype, shape and two data_offsets", what);
    }
    const auto dtype = dtype_named(*dtype_);
    const bool is_bytes = *dtype_ == kPanelsType;
    if (!dtype && !is_bytes) {
      input_error("{}: its type '{}' is not supported, expected F32, BF16 or F16", what,
                  printable(*dtype_));
    }
    const std::size_t begin = (*offsets_)[0];
    const std::size_t end = (*offsets_)[1];
    if (begin > end || end > data_.size()) {
      input_error("{}: lies at bytes {} to {} of {}", what, begin, end, data_.size());
    }
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(checked_size(*shape_, what), dtype ? base::size_of(*dtype) : 1,
                               &bytes) ||
        bytes != end - begin) {
      input_error("{}: {} of shape {} does not fill {} bytes", what, *dtype_, shape_text(*shape_),
                  end - begin);
    }
    ranges_.push_back({begin, end, name_});
    if (is_bytes) {
      bytes_.emplace(name_, data_.subspan(begin, bytes));
      return;
    }
    add_tensor(tensors_, file_, name_,
               {*dtype, *shape_, contiguous_strides(*shape_), &data_[begin]});
  }

  /// Adds the tensors that are panels, and the checksums of all.
  void add_packed(std::string text, std::size_t begin, TensorFile& contents) {
    const std::string what = fmt::format("{}: header: {}", file_, kPackedMetadata);
    PackedMetadata metadata = parse_packed_metadata(std::move(text), what);
    for (const auto& [name, panels] : bytes_) {
      const auto shape = metadata.shapes.find(name);
      const std::size_t at = begin + static_cast<std::size_t>(panels.data() - data_.data());
      if (shape == metadata.shapes.end() || at % kTensorAlignment != 0) {
        input_error(
            "{}: tensor {}: expected a shape in the metadata, and a beginning at a multiple "
            "of {} bytes, found byte {}",
            file_, printable(name), kTensorAlignment, at);
      }
      add_tensor(contents.tensors, file_, name,
                 {.shape = shape->second,
                  .strides = contiguous_strides(shape->second),
                  .data = panels.data(),
                  .packed = PackedPanels{metadata.info.layout, panels.size()}});
    }
    for (const auto& [name, tensor] : contents.tensors) {
      const auto checksum = metadata.checksums.find(name);
      if (checksum == metadata.checksums.end()) {
        input_error("{}: tensor {}: has no checksum", file_, printable(name));
      }
      contents.checksums.push_back({fmt::format("{}: tensor {}", file_, name),
                                    {tensor.data, tensor.stored_bytes()},
                                    checksum->second});
    }
    contents.packed = std::move(metadata.info);
  }

  void check_coverage() {
    std::ranges::sort(ranges_, {}, &TensorRange::begin);
    std::size_t covered = 0;
    for (const TensorRange& range : ranges_) {
      if (range.begin != covered) {
        input_error("{}: tensor {}: starts at byte {}, the tensor before it ends at {}", file_,
                    printable(range.name), range.begin, covered);
      }
      covered = range.end;
    }
    if (covered != data_.size()) {
      input_error("{}: the tensors end at byte {} of {}", file_, covered, data_.size());
    }
  }

  std::span<const std::byte> data_;  ///< What follows the header.
  std::string_view file_;
  Place place_ = Place::kStart;
  std::string key_;
  std::string name_;  ///< Of the current or last tensor.
  std::optional<std::string> dtype_;
  std::optional<std::vector<std::size_t>> shape_;
  std::optional<std::vector<std::size_t>> offsets_;
  TensorMap tensors_;
  std::map<std::string, std::span<const std::byte>> bytes_;  ///< Tensors of type U8.
  std::map<std::string, std::string, std::less<>> metadata_;
  std::vector<TensorRange> ranges_;
};

}  // namespace

TensorFile read_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  ByteReader reader(bytes, std::string(file));
  const auto header_bytes = reader.number<std::uint64_t>();
  if (header_bytes > kLongestHeader) {
    input_error("{}: its header claims {} bytes, at most {} are read", file, header_bytes,
                kLongestHeader);
  }
  const std::string_view header = reader.take_text(header_bytes);
  HeaderReader events(reader.take(reader.remaining()), file);
  base::parse_json(std::string(header), fmt::format("{}: header", file), events);
  return events.take_contents(sizeof(header_bytes) + header_bytes);
}

}  // namespace longreach::model
