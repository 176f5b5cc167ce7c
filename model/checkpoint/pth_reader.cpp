#include "model/checkpoint/pth_reader.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/pickle.hpp"
#include "model/checkpoint/printable.hpp"
#include "model/checkpoint/zip_archive.hpp"

#include <optional>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;
using Kind = Pickle::Kind;
using Ref = Pickle::Ref;

constexpr std::string_view kPickleName = "/data.pkl";
constexpr std::size_t kLongestStorageKey = 64;  // bytes; torch counts storages: "0", "1", ...

std::optional<base::DType> dtype_of_storage(std::string_view type) {
  if (type == "FloatStorage") return base::DType::kF32;
  if (type == "BFloat16Storage") return base::DType::kBf16;
  if (type == "HalfStorage") return base::DType::kF16;
  return std::nullopt;
}

/// The archive's folder: every entry's name starts with it.
std::string find_root(const ZipEntries& entries, std::string_view file) {
  std::optional<std::string> root;
  for (const auto& [name, entry] : entries) {
    if (!name.ends_with(kPickleName)) continue;
    if (root) input_error("{}: has several entries */data.pkl, expected one", file);
    root = name.substr(0, name.size() - kPickleName.size() + 1);
  }
  if (!root)
    input_error("{}: is a zip archive without an entry */data.pkl, so no checkpoint", file);
  return *root;
}

/// Writers that compute no checksums leave zeros.
bool has_checksum(const ZipEntry& entry) { return entry.crc32 != 0; }

std::string entry_text(std::string_view file, std::string_view name) {
  return fmt::format("{}: zip entry '{}'", file, printable(name));
}

/// Interprets the pickle of an opened archive.
class StateDictReader {
 public:
  StateDictReader(const ZipEntries& entries, const std::string& root, const Pickle& pickle,
                  std::string_view file)
      : entries_(entries), storage_prefix_(root + "data/"), pickle_(pickle), file_(file) {}

  TensorMap read() const {
    const Ref dict = pickle_.root();
    if (pickle_.kind(dict) != Kind::kDict) {
      input_error("{}: expected a flat dict of tensors, found {}", file_, pickle_.describe(dict));
    }
    TensorMap tensors;
    const std::vector<Ref> elements = pickle_.elements(dict);
    for (std::size_t i = 0; i < elements.size(); i += 2) {
      add_entry(tensors, elements[i], elements[i + 1]);
    }
    return tensors;
  }

 private:
  void add_entry(TensorMap& tensors, Ref key, Ref value) const {
    if (pickle_.kind(key) != Kind::kString) {
      input_error("{}: expected names as keys, found {}", file_, pickle_.describe(key));
    }
    const std::string_view name = pickle_.text(key);
    switch (pickle_.kind(value)) {
      case Kind::kCall:
        return add_tensor(tensors, file_, name, read_tensor(name, value));
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kHugeInt:
      case Kind::kFloat:
      case Kind::kString:
        return;
      default:
        input_error("{}: expected a flat dict of tensors, but entry '{}' is {}", file_,
                    printable(name), pickle_.describe(value));
    }
  }

  /// _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks[, metadata]), perhaps
  /// inside _rebuild_parameter(tensor, requires_grad, hooks).
  Tensor read_tensor(std::string_view name, Ref call) const {
    const std::string what = fmt::format("{}: tensor {}", file_, printable(name));
    std::vector<Ref> arguments = arguments_of(call, what);
    if (pickle_.global(call) == PickleGlobal::kRebuildParameter) {
      if (arguments.size() != 3 || pickle_.kind(arguments[0]) != Kind::kCall ||
          pickle_.global(arguments[0]) != PickleGlobal::kRebuildTensor) {
        input_error("{}: expected a parameter made of a tensor", what);
      }
      arguments = arguments_of(arguments[0], what);
    }
    if (arguments.size() != 6 && arguments.size() != 7) {
      input_error("{}: expected 6 arguments to rebuild it, found {}", what, arguments.size());
    }
    if (arguments.size() == 7 && !means_nothing(arguments[6])) {
      input_error("{}: is a conjugated or negated view, which is not supported", what);
    }
    const Storage storage = read_storage(arguments[0], what);
    const std::size_t offset = extent(arguments[1], "offset", what);
    std::vector<std::size_t> shape = extents(arguments[2], "shape", what);
    std::vector<std::size_t> strides = extents(arguments[3], "strides", what);
    return make_view(storage, offset, std::move(shape), std::move(strides), what);
  }

  /// A storage: numbers of one type.
  struct Storage {
    std::span<const std::byte> data;
    base::DType dtype;
    std::size_t size;  ///< In elements.
  };

  /// The persistent id ('storage', type, key, device, number of elements).
  Storage read_storage(Ref value, const std::string& what) const {
    if (pickle_.kind(value) != Kind::kPersistentId) {
      input_error("{}: expected a storage, found {}", what, pickle_.describe(value));
    }
    const Ref id = pickle_.operand(value);
    if (pickle_.kind(id) != Kind::kTuple || pickle_.count(id) != 5) {
      input_error("{}: expected a storage's id of 5 parts", what);
    }
    const std::vector<Ref> parts = pickle_.elements(id);
    if (pickle_.kind(parts[0]) != Kind::kString || pickle_.text(parts[0]) != "storage" ||
        pickle_.kind(parts[1]) != Kind::kGlobal ||
        pickle_.global(parts[1]) != PickleGlobal::kStorage ||
        pickle_.kind(parts[2]) != Kind::kString) {
      input_error("{}: expected a storage's id of the word storage, a type and a key", what);
    }
    const auto dtype = dtype_of_storage(pickle_.text(parts[1]));
    if (!dtype) {
      input_error("{}: its type '{}' is not supported, expected f32, bf16 or f16", what,
                  printable(pickle_.text(parts[1])));
    }
    const std::span<const std::byte> data = storage_data(pickle_.text(parts[2]), what);
    const std::size_t size = extent(parts[4], "storage size", what);
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(size, base::size_of(*dtype), &bytes) || bytes != data.size()) {
      input_error("{}: expected a storage of {} {}, found {} bytes", what, size,
                  base::name_of(*dtype), data.size());
    }
    return {data, *dtype, size};
  }

  std::span<const std::byte> storage_data(std::string_view key, const std::string& what) const {
    // One key may be mentioned by very many tensors: a long one would cost its length each time.
    if (key.size() > kLongestStorageKey) {
      input_error("{}: its storage's key has {} bytes", what, key.size());
    }
    const auto entry = entries_.find(storage_prefix_ + std::string(key));
    if (entry == entries_.end()) {
      input_error("{}: its storage '{}{}' is missing", what, storage_prefix_, printable(key));
    }
    return entry->second.data;
  }

  /// The view of a storage, once it is certain that it stays inside.
  static Tensor make_view(const Storage& storage, std::size_t offset,
                          std::vector<std::size_t> shape, std::vector<std::size_t> strides,
                          const std::string& what) {
    if (shape.size() != strides.size()) {
      input_error("{}: has {} dimensions and {} strides", what, shape.size(), strides.size());
    }
    const std::size_t size = checked_size(shape, what);
    std::size_t last = offset;
    bool overflow = false;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      std::size_t reach = 0;
      overflow |= __builtin_mul_overflow(shape[i] - 1, strides[i], &reach);
      overflow |= __builtin_add_overflow(last, reach, &last);
    }
    if (overflow || last >= storage.size) {
      input_error("{}: offset {}, shape {} and strides {} reach outside its storage of {} elements",
                  what, offset, shape_text(shape), shape_text(strides), storage.size);
    }
    // Elements that share their place would let a tiny file claim any amount of memory.
    if (size > storage.size) {
      input_error("{}: shape {} is larger than its storage of {} elements", what, shape_text(shape),
                  storage.size);
    }
    return {.dtype = storage.dtype,
            .shape = std::move(shape),
            .strides = std::move(strides),
            .data = storage.data.data() + offset * base::size_of(storage.dtype)};
  }

  std::vector<Ref> arguments_of(Ref call, const std::string& what) const {
    return short_tuple(pickle_.operand(call), "arguments", what);
  }

  /// The elements of a tuple that can only be short: many calls may share one that is not.
  std::vector<Ref> short_tuple(Ref tuple, std::string_view role, const std::string& what) const {
    constexpr std::size_t kMostElements = 64;
    if (pickle_.kind(tuple) != Kind::kTuple) {
      input_error("{}: expected a tuple as its {}, found {}", what, role, pickle_.describe(tuple));
    }
    if (pickle_.count(tuple) > kMostElements) {
      input_error("{}: its {} have {} elements", what, role, pickle_.count(tuple));
    }
    return pickle_.elements(tuple);
  }

  std::vector<std::size_t> extents(Ref tuple, std::string_view role,
                                   const std::string& what) const {
    std::vector<std::size_t> result;
    for (const Ref element : short_tuple(tuple, role, what)) {
      result.push_back(extent(element, role, what));
    }
    return result;
  }

  std::size_t extent(Ref value, std::string_view role, const std::string& what) const {
    if (pickle_.kind(value) != Kind::kInt) {
      input_error("{}: expected an int in its {}, found {}", what, role, pickle_.describe(value));
    }
    const std::int64_t integer = pickle_.integer(value);
    if (integer < 0) input_error("{}: its {} has a negative number, {}", what, role, integer);
    return static_cast<std::size_t>(integer);
  }

  bool means_nothing(Ref metadata) const {
    return pickle_.kind(metadata) == Kind::kNone ||
           (pickle_.kind(metadata) == Kind::kDict && pickle_.count(metadata) == 0);
  }

  const ZipEntries& entries_;
  std::string storage_prefix_;
  const Pickle& pickle_;
  std::string_view file_;
};

/// Newer versions of torch say how numbers are stored.
void check_byte_order(const ZipEntries& entries, const std::string& root, std::string_view file) {
  const auto entry = entries.find(root + "byteorder");
  if (entry == entries.end()) return;
  const auto data = entry->second.data;
  const std::string_view order(reinterpret_cast<const char*>(data.data()), data.size());
  if (order != "little") {
    input_error("{}: expected numbers in little-endian order, found '{}'", file, printable(order));
  }
}

}  // namespace

bool is_torch_zip(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.starts_with("PK\3\4") || text.starts_with("PK\5\6");
}

TensorFile read_pth(std::span<const std::byte> bytes, std::string_view file) {
  const ZipEntries entries = read_zip_entries(bytes, file);
  const std::string root = find_root(entries, file);
  check_byte_order(entries, root, file);

  TensorFile result;
  for (const auto& [name, entry] : entries) {
    if (!has_checksum(entry)) continue;
    result.checksums.push_back({entry_text(file, name), entry.data, entry.crc32});
  }

  const std::string pickle_name = root + std::string(kPickleName.substr(1));
  const ZipEntry& pickle_entry = entries.at(pickle_name);
  const std::string what = entry_text(file, pickle_name);
  if (has_checksum(pickle_entry)) check_crc32({what, pickle_entry.data, pickle_entry.crc32});
  const Pickle pickle = Pickle::parse(pickle_entry.data, what);
  result.tensors = StateDictReader(entries, root, pickle, file).read();
  return result;
}

}  // namespace longreach::model
