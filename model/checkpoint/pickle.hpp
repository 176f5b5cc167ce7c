/// A small reader of Python pickles, of the kind torch.save writes for a dict of tensors. It
/// executes nothing: a pickle's calls become values that model/checkpoint/pth_reader interprets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::model {

/// What a pickle may refer to by module and name; all else is refused.
enum class PickleGlobal : std::uint8_t {
  kOrderedDict,       ///< collections.OrderedDict
  kRebuildTensor,     ///< torch._utils._rebuild_tensor_v2
  kRebuildParameter,  ///< torch._utils._rebuild_parameter
  kStorage,           ///< torch.*Storage and torch.storage.*Storage
};

/// The values of one pickle. They refer to each other by index, never by pointer or recursion, so
/// neither deep nesting nor cycles can hurt; a value that the pickle mentions often exists once.
/// Memory: at most some 40 bytes per byte of the pickle, and no pickle above kLargestBytes is read.
class Pickle {
 public:
  /// An index of a value.
  using Ref = std::uint32_t;

  enum class Kind : std::uint8_t {
    kNone,
    kBool,
    kInt,      ///< Fits 64 bits.
    kHugeInt,  ///< Does not; its value is not kept.
    kFloat,    ///< Its value is not kept.
    kString,
    kTuple,
    kList,
    kDict,  ///< Also collections.OrderedDict, whose attributes are not kept.
    kGlobal,
    kCall,          ///< A function and its arguments, not called.
    kPersistentId,  ///< Stands for an object outside the pickle; torch: a storage.
  };

  /// A published model has some thousand tensors of about 120 bytes each in the pickle.
  static constexpr std::size_t kLargestBytes = std::size_t{8} << 20;

  /// Runs the pickle's opcodes up to its STOP. `what` names it in errors; strings are views of
  /// `bytes`.
  /// Errors: InputError for unknown opcodes and globals, stack or memo misuse, and a wrong end.
  static Pickle parse(std::span<const std::byte> bytes, std::string_view what);

  /// The value the pickle stands for.
  Ref root() const { return root_; }
  Kind kind(Ref value) const { return values_[value].kind; }
  /// "a dict", "an int", ..., for messages.
  std::string_view describe(Ref value) const;

  /// Requires: kInt.
  std::int64_t integer(Ref value) const;
  /// The characters of a kString, or the name of a kGlobal without its module.
  std::string_view text(Ref value) const;
  /// The number of elements of a kTuple or kList; of a kDict, keys and values both count.
  std::size_t count(Ref value) const;
  /// The elements of a kTuple or kList in order; of a kDict key, value, key, value, ...
  std::vector<Ref> elements(Ref value) const;
  /// Which one a kGlobal is, or which one a kCall calls.
  PickleGlobal global(Ref value) const;
  /// The tuple of arguments of a kCall, or the id of a kPersistentId.
  Ref operand(Ref value) const;

 private:
  friend class PickleMachine;

  static constexpr Ref kNoRef = 0xffffffff;

  struct Value {
    Kind kind = Kind::kNone;
    PickleGlobal global = PickleGlobal::kOrderedDict;
    std::uint32_t count = 0;       ///< Elements, or bytes of a text.
    std::uint32_t first = kNoRef;  ///< Item of the first element, operand, or position of a text.
    std::uint32_t last = kNoRef;   ///< Item of the last element.
    std::int64_t integer = 0;
  };
  /// An element of a tuple, list or dict: a linked list, so that appending moves nothing.
  struct Item {
    Ref value;
    std::uint32_t next;
  };

  Pickle() = default;

  std::string_view bytes_;
  std::vector<Value> values_;
  std::vector<Item> items_;
  Ref root_ = 0;
};

}  // namespace longreach::model
