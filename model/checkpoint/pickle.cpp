#include "model/checkpoint/pickle.hpp"

#include "kernels/base/error.hpp"
#include "model/checkpoint/byte_reader.hpp"
#include "model/checkpoint/printable.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace longreach::model {
namespace {

using base::input_error;

/// The opcodes that torch.save writes for dicts of tensors and of plain values: protocol 2, and
/// what protocols 4 and 5 write in their place. Source: CPython, Lib/pickletools.py.
enum Opcode : std::uint8_t {
  kMark = '(',
  kEmptyTuple = ')',
  kStop = '.',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kEmptyList = ']',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

constexpr std::uint8_t kNewestProtocol = 5;

std::optional<PickleGlobal> known_global(std::string_view module, std::string_view name) {
  if (module == "collections" && name == "OrderedDict") return PickleGlobal::kOrderedDict;
  if (module == "torch._utils" && name == "_rebuild_tensor_v2") return PickleGlobal::kRebuildTensor;
  if (module == "torch._utils" && name == "_rebuild_parameter") {
    return PickleGlobal::kRebuildParameter;
  }
  const bool holds_storages =
      module == "torch" || module == "torch.storage" || module == "torch.cuda";
  const bool is_plain_name = name.find('.') == std::string_view::npos;
  if (holds_storages && is_plain_name && name.ends_with("Storage")) return PickleGlobal::kStorage;
  return std::nullopt;
}

}  // namespace

/// Runs a pickle: a stack of values, marks in it, and a memo of values to be used again.
class PickleMachine {
 public:
  using Ref = Pickle::Ref;
  using Kind = Pickle::Kind;
  using Value = Pickle::Value;

  PickleMachine(std::span<const std::byte> bytes, std::string_view what)
      : input_(bytes, std::string(what)), bytes_(bytes) {
    pickle_.bytes_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  Pickle run() {
    if (bytes_.size() > Pickle::kLargestBytes) {
      input_error("{}: has {} bytes, at most {} are read", input_.what(), bytes_.size(),
                  Pickle::kLargestBytes);
    }
    for (;;) {
      opcode_at_ = input_.position();
      const auto opcode = input_.number<std::uint8_t>();
      if (opcode == kStop) break;
      execute(opcode);
    }
    pickle_.root_ = pop();
    if (!stack_.empty() || !marks_.empty() || input_.remaining() != 0) fail("a stop too early");
    return std::move(pickle_);
  }

 private:
  [[noreturn]] void fail(std::string_view found) const {
    input_error("{}: broken pickle: {} at byte {}", input_.what(), found, opcode_at_);
  }

  void execute(std::uint8_t opcode) {
    switch (opcode) {
      case kProto:
        return check_protocol();
      case kFrame:
        return check_frame();

      case kNone:
        return push({.kind = Kind::kNone});
      case kNewTrue:
      case kNewFalse:
        return push({.kind = Kind::kBool});
      case kBinFloat:
        input_.take(8);
        return push({.kind = Kind::kFloat});
      case kBinInt:
        return push_integer(input_.number<std::int32_t>());
      case kBinInt1:
        return push_integer(input_.number<std::uint8_t>());
      case kBinInt2:
        return push_integer(input_.number<std::uint16_t>());
      case kLong1:
        return push_long(input_.number<std::uint8_t>());
      case kLong4:
        return push_long(input_.number<std::uint32_t>());
      case kShortBinUnicode:
        return push_text(Kind::kString, input_.number<std::uint8_t>());
      case kBinUnicode:
        return push_text(Kind::kString, input_.number<std::uint32_t>());
      case kBinUnicode8:
        return push_text(Kind::kString, input_.number<std::uint64_t>());

      case kEmptyTuple:
        return push({.kind = Kind::kTuple});
      case kEmptyList:
        return push({.kind = Kind::kList});
      case kEmptyDict:
        return push({.kind = Kind::kDict});
      case kTuple1:
        return push_tuple(1);
      case kTuple2:
        return push_tuple(2);
      case kTuple3:
        return push_tuple(3);
      case kMark:
        return marks_.push_back(stack_.size());
      case kTuple:
        return push_tuple(close_mark());
      case kAppend:
        return extend(Kind::kList, 1);
      case kAppends:
        return extend(Kind::kList, close_mark());
      case kSetItem:
        return extend(Kind::kDict, 2);
      case kSetItems:
        return extend(Kind::kDict, close_mark());

      case kBinPut:
        return put(input_.number<std::uint8_t>());
      case kLongBinPut:
        return put(input_.number<std::uint32_t>());
      case kMemoize:
        return put(memoized_);
      case kBinGet:
        return get(input_.number<std::uint8_t>());
      case kLongBinGet:
        return get(input_.number<std::uint32_t>());

      case kGlobal:
        return push_named_global();
      case kStackGlobal:
        return push_stack_global();
      case kReduce:
        return push_call();
      case kBuild:
        return drop_attributes();
      case kBinPersId:
        return push({.kind = Kind::kPersistentId, .first = pop()});

      default:
        fail(fmt::format("opcode {:#04x}, which no state dict of tensors needs,", opcode));
    }
  }

  // ---- the stack

  void push(const Value& value) {
    pickle_.values_.push_back(value);
    stack_.push_back(static_cast<Ref>(pickle_.values_.size() - 1));
  }

  /// How many values lie above the last mark.
  std::size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }

  Ref top() const {
    if (available() == 0) fail("a missing operand");
    return stack_.back();
  }

  Ref pop() {
    const Ref value = top();
    stack_.pop_back();
    return value;
  }

  /// Removes the last mark and returns how many values lay above it.
  std::size_t close_mark() {
    if (marks_.empty()) fail("a missing mark");
    const std::size_t count = available();
    marks_.pop_back();
    return count;
  }

  Value& value(Ref ref) { return pickle_.values_[ref]; }

  // ---- plain values

  void check_protocol() {
    const auto protocol = input_.number<std::uint8_t>();
    if (protocol > kNewestProtocol) fail(fmt::format("unknown protocol {}", protocol));
  }

  /// A frame only says how much could be read at once.
  void check_frame() {
    const auto length = input_.number<std::uint64_t>();
    if (length > input_.remaining()) fail("a frame longer than the pickle");
  }

  void push_integer(std::int64_t integer) { push({.kind = Kind::kInt, .integer = integer}); }

  /// A two's complement number of any length.
  void push_long(std::uint32_t length) {
    const auto digits = input_.take(length);
    if (digits.empty()) return push_integer(0);
    const bool negative = (digits.back() & std::byte{0x80}) != std::byte{0};
    std::int64_t integer = negative ? -1 : 0;
    if (digits.size() > sizeof integer) return push({.kind = Kind::kHugeInt});
    std::memcpy(&integer, digits.data(), digits.size());
    push_integer(integer);
  }

  void push_text(Kind kind, std::uint64_t length) {
    const std::size_t at = input_.position();
    input_.take(length);
    push({.kind = kind,
          .count = static_cast<std::uint32_t>(length),
          .first = static_cast<std::uint32_t>(at)});
  }

  // ---- tuples, lists, dicts

  /// Moves the topmost `count` values from the stack to the end of `target`, in their order.
  void move_elements(Value& target, std::size_t count) {
    for (std::size_t i = stack_.size() - count; i < stack_.size(); ++i) {
      const auto item = static_cast<std::uint32_t>(pickle_.items_.size());
      pickle_.items_.push_back({stack_[i], Pickle::kNoRef});
      (target.count == 0 ? target.first : pickle_.items_[target.last].next) = item;
      target.last = item;
      ++target.count;
    }
    stack_.resize(stack_.size() - count);
  }

  void push_tuple(std::size_t count) {
    if (count > available()) fail("a missing operand");
    Value tuple{.kind = Kind::kTuple};
    move_elements(tuple, count);
    push(tuple);
  }

  /// Appends the topmost `count` values to the list or dict below them.
  void extend(Kind kind, std::size_t count) {
    if (count >= available()) fail("a missing operand");
    Value& target = value(stack_[stack_.size() - count - 1]);
    if (target.kind != kind) fail("an item for something that is no list or dict");
    if (kind == Kind::kDict && count % 2 != 0) fail("a key without a value");
    move_elements(target, count);
  }

  // ---- the memo

  void put(std::uint32_t index) {
    // Picklers count up from 0, so this bounds the memo without refusing anything real.
    if (index >= bytes_.size()) fail(fmt::format("memo index {}", index));
    if (index >= memo_.size()) memo_.resize(index + std::size_t{1}, Pickle::kNoRef);
    if (memo_[index] == Pickle::kNoRef) ++memoized_;
    memo_[index] = top();
  }

  void get(std::uint32_t index) {
    if (index >= memo_.size() || memo_[index] == Pickle::kNoRef) {
      fail(fmt::format("unknown memo index {}", index));
    }
    stack_.push_back(memo_[index]);
  }

  // ---- globals and what is done with them

  /// Up to the next line feed, which is taken off.
  std::string_view read_line() {
    const std::string_view rest = pickle_.bytes_.substr(input_.position());
    const std::size_t length = std::min(rest.find('\n'), rest.size());
    const std::string_view line = input_.take_text(length);
    input_.take(1);
    return line;
  }

  void push_global(std::string_view module, std::string_view name) {
    const auto known = known_global(module, name);
    if (!known) {
      input_error("{}: asks for {}.{}, which is not needed for tensors and not executed",
                  input_.what(), printable(module), printable(name));
    }
    push({.kind = Kind::kGlobal,
          .global = *known,
          .count = static_cast<std::uint32_t>(name.size()),
          .first = static_cast<std::uint32_t>(name.data() - pickle_.bytes_.data())});
  }

  void push_named_global() {
    const std::string_view module = read_line();
    const std::string_view name = read_line();
    push_global(module, name);
  }

  void push_stack_global() {
    const Ref name = pop();
    const Ref module = pop();
    if (value(name).kind != Kind::kString || value(module).kind != Kind::kString) {
      fail("a global whose name is no string");
    }
    push_global(pickle_.text(module), pickle_.text(name));
  }

  void push_call() {
    const Ref arguments = pop();
    const Value function = value(pop());
    if (function.kind != Kind::kGlobal) fail("a call of something that is no function");
    if (value(arguments).kind != Kind::kTuple) fail("a call without a tuple of arguments");
    switch (function.global) {
      case PickleGlobal::kStorage:
        fail("a call of a storage type");
      case PickleGlobal::kOrderedDict:
        if (value(arguments).count != 0) fail("an OrderedDict with arguments");
        return push({.kind = Kind::kDict});
      case PickleGlobal::kRebuildTensor:
      case PickleGlobal::kRebuildParameter:
        return push({.kind = Kind::kCall, .global = function.global, .first = arguments});
    }
  }

  /// A state dict carries attributes (`_metadata`), which no tensor depends on.
  void drop_attributes() {
    pop();
    if (value(top()).kind != Kind::kDict) fail("attributes of something that is no dict");
  }

  ByteReader input_;
  std::span<const std::byte> bytes_;
  Pickle pickle_;
  std::vector<Ref> stack_;
  std::vector<std::size_t> marks_;  ///< Heights of the stack.
  std::vector<Ref> memo_;
  std::uint32_t memoized_ = 0;  ///< Memo entries in use: the index MEMOIZE takes next.
  std::size_t opcode_at_ = 0;
};

Pickle Pickle::parse(std::span<const std::byte> bytes, std::string_view what) {
  return PickleMachine(bytes, what).run();
}

std::string_view Pickle::describe(Ref value) const {
  switch (kind(value)) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a bool";
    case Kind::kInt:
      return "an int";
    case Kind::kHugeInt:
      return "an int beyond 64 bits";
    case Kind::kFloat:
      return "a float";
    case Kind::kString:
      return "a string";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kList:
      return "a list";
    case Kind::kDict:
      return "a dict";
    case Kind::kGlobal:
      return "a type";
    case Kind::kCall:
      return "a tensor";
    case Kind::kPersistentId:
      return "a storage";
  }
  return "?";
}

std::int64_t Pickle::integer(Ref value) const {
  LR_CHECK(kind(value) == Kind::kInt);
  return values_[value].integer;
}

std::string_view Pickle::text(Ref value) const {
  LR_CHECK(kind(value) == Kind::kString || kind(value) == Kind::kGlobal);
  return bytes_.substr(values_[value].first, values_[value].count);
}

std::size_t Pickle::count(Ref value) const {
  LR_CHECK(kind(value) == Kind::kTuple || kind(value) == Kind::kList || kind(value) == Kind::kDict);
  return values_[value].count;
}

std::vector<Pickle::Ref> Pickle::elements(Ref value) const {
  std::vector<Ref> result;
  result.reserve(count(value));
  for (std::uint32_t item = values_[value].first; item != kNoRef; item = items_[item].next) {
    result.push_back(items_[item].value);
  }
  return result;
}

PickleGlobal Pickle::global(Ref value) const {
  LR_CHECK(kind(value) == Kind::kGlobal || kind(value) == Kind::kCall);
  return values_[value].global;
}

Pickle::Ref Pickle::operand(Ref value) const {
  LR_CHECK(kind(value) == Kind::kCall || kind(value) == Kind::kPersistentId);
  return values_[value].first;
}

}  // namespace longreach::model
