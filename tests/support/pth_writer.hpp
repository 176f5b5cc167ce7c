/// Writes pickles opcode by opcode, and `.pth` archives of them.
#pragma once

#include "tests/support/zip_writer.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::test {

/// What a pickle says about a tensor; by default three floats, all of storage 0.
struct TensorSpec {
  std::string type = "FloatStorage";
  std::string key = "0";
  std::int64_t storage_size = 3;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape = {3};
  std::vector<std::int64_t> strides = {1};
};

class PickleWriter {
 public:
  /// Begins with the protocol's number.
  explicit PickleWriter(char protocol = 2) { raw("\x80").raw({&protocol, 1}); }
  /// Writes a part of a pickle.
  static PickleWriter part() {
    PickleWriter writer;
    writer.bytes_.clear();
    return writer;
  }

  PickleWriter& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  PickleWriter& text(std::string_view text) {
    return raw("X").raw(little_endian(static_cast<std::uint32_t>(text.size()))).raw(text);
  }
  PickleWriter& integer(std::int64_t number) {
    if (number < std::numeric_limits<std::int32_t>::min() ||
        number > std::numeric_limits<std::int32_t>::max()) {
      return raw("\x8a\x08").raw(little_endian(number));
    }
    return raw("J").raw(little_endian(static_cast<std::int32_t>(number)));
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    return raw("c").raw(module).raw("\n").raw(name).raw("\n");
  }
  PickleWriter& integers(const std::vector<std::int64_t>& numbers) {
    raw("(");
    for (const std::int64_t number : numbers) integer(number);
    return raw("t");
  }
  /// OrderedDict()
  PickleWriter& ordered_dict() { return global("collections", "OrderedDict").raw(")R"); }
  PickleWriter& storage(const TensorSpec& tensor) {
    raw("(").text("storage").global("torch", tensor.type).text(tensor.key).text("cuda:0");
    return integer(tensor.storage_size).raw("tQ");
  }
  PickleWriter& tensor(const TensorSpec& tensor) {
    global("torch._utils", "_rebuild_tensor_v2").raw("(").storage(tensor).integer(tensor.offset);
    integers(tensor.shape).integers(tensor.strides).raw("\x89");
    return ordered_dict().raw("tR");
  }
  const std::string& bytes() const { return bytes_; }
  /// All bytes, with the opcode that ends every pickle.
  std::string stop() const { return bytes_ + "."; }

 private:
  std::string bytes_;
};

/// A pickled flat dict.
inline std::string pickle_of(const std::vector<std::pair<std::string, TensorSpec>>& tensors) {
  PickleWriter writer;
  writer.raw("}(");
  for (const auto& [name, tensor] : tensors) writer.text(name).tensor(tensor);
  return writer.raw("u").stop();
}

/// Bytes of floats.
inline std::string floats(const std::vector<float>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
}

/// An archive as torch.save writes it: the pickle, and storages by key.
inline std::string pth_of(std::string_view pickle,
                          const std::vector<std::pair<std::string, std::string>>& storages,
                          Zip64 zip64 = Zip64::kEndRecord) {
  ZipWriter writer(zip64);
  writer.add({.name = "model/data.pkl", .data = std::string(pickle)});
  for (const auto& [key, data] : storages) writer.add({.name = "model/data/" + key, .data = data});
  writer.add({.name = "model/version", .data = "3\n"});
  return writer.finish();
}

}  // namespace longreach::test
