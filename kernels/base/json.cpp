#include "kernels/base/json.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/id_lists.hpp"
#include "kernels/base/utf8.hpp"

#include <nlohmann/json.hpp>

// Strings may have more than 2^32 bytes.
#define RAPIDJSON_NO_SIZETYPEDEFINE
namespace rapidjson {
using SizeType = std::size_t;
}
#include <rapidjson/reader.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

namespace longreach::base {
namespace {

using Json = nlohmann::json;
using Events = nlohmann::json_sax<Json>;

/// Judges what the parser finds, and passes it on.
class StrictEvents final : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, StrictEvents> {
 public:
  /// `text` is what is parsed.
  StrictEvents(const char* text, std::string_view name, Events& next)
      : text_(text), name_(name), next_(next) {}

  bool Null() { return next_.null(); }
  bool Bool(bool value) { return next_.boolean(value); }
  bool RawNumber(const char* text, std::size_t n, bool) {
    const std::string number(text, n);
    const auto whole = [&](auto value) {
      const auto end = std::from_chars(number.data(), number.data() + n, value);
      return end.ec == std::errc() && end.ptr == number.data() + n ? std::optional(value)
                                                                   : std::nullopt;
    };
    if (const auto value = whole(Json::number_unsigned_t())) return next_.number_unsigned(*value);
    if (const auto value = whole(Json::number_integer_t())) return next_.number_integer(*value);
    const double value = std::strtod(number.c_str(), nullptr);
    if (!std::isfinite(value)) refuse_number(text);
    return next_.number_float(value, number);
  }
  bool String(const char* text, std::size_t n, bool) {
    std::string value = string_at(text, n);
    return next_.string(value);
  }
  bool StartObject() {
    enter();
    return next_.start_object(kUnknownSize);
  }
  bool Key(const char* text, std::size_t n, bool) {
    std::string key = string_at(text, n);
    if (!keys_.back().insert(key).second) {
      input_error("{}: the key {} stands twice in one object", name_, json_text(key));
    }
    return next_.key(key);
  }
  bool EndObject(std::size_t) {
    keys_.pop_back();
    return next_.end_object();
  }
  bool StartArray() {
    enter();
    return next_.start_array(kUnknownSize);
  }
  bool EndArray(std::size_t) {
    keys_.pop_back();
    return next_.end_array();
  }

  [[noreturn]] void refuse_number(const char* text) const {
    const std::string_view rest(text);
    const std::string_view number = rest.substr(0, rest.find_first_not_of("+-.0123456789Ee"));
    input_error("{}: the number {} at byte {} is out of range", name_, json_text(number),
                text + number.size() - text_);
  }

 private:
  static constexpr std::size_t kUnknownSize = static_cast<std::size_t>(-1);

  /// The parser takes the second half of a surrogate pair without the first.
  std::string string_at(const char* text, std::size_t n) const {
    std::string value(text, n);
    for (std::size_t at = value.find('\xed'); at != value.npos; at = value.find('\xed', at + 1)) {
      if (static_cast<unsigned char>(value[at + 1]) >= 0xa0) {
        input_error("{}: no valid JSON at byte {}: half of a surrogate pair", name_,
                    text - text_ + 1);
      }
    }
    return value;
  }

  void enter() {
    if (keys_.size() == kDeepestJson) {
      input_error("{}: JSON with more than {} lists and objects inside one another", name_,
                  kDeepestJson);
    }
    keys_.emplace_back();
  }

  const char* text_;
  std::string_view name_;
  Events& next_;
  std::vector<std::set<std::string>> keys_;  ///< Of each object that is open; empty for lists.
};

/// Makes the value.
class Builder : public Events {
 public:
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;
  }

 protected:
  template <typename Value>
  bool add(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
  }

 private:
  /// The value in its place.
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_object()) return parent[key_] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }
  bool open(Json value) {
    open_.push_back(&place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  ///< Each the last part of the one before it.
  std::string key_;
};

/// The same with lists of ids in some fields.
class IdListBuilder final : public Builder {
 public:
  explicit IdListBuilder(std::span<const std::string_view> fields) : fields_(fields) {}

  bool null() override { return settle() && Builder::null(); }
  bool boolean(bool value) override { return settle() && Builder::boolean(value); }
  bool number_integer(number_integer_t value) override {
    return settle() && Builder::number_integer(value);
  }
  bool number_float(number_float_t value, const string_t& text) override {
    return settle() && Builder::number_float(value, text);
  }
  bool string(string_t& value) override { return settle() && Builder::string(value); }
  bool start_object(std::size_t n) override {
    ++n_objects_;
    return settle() && Builder::start_object(n);
  }
  bool end_object() override {
    --n_objects_;
    return Builder::end_object();
  }
  bool key(string_t& value) override {
    if (n_objects_ == 1) has_ids_ = std::ranges::count(fields_, value) > 0;
    return Builder::key(value);
  }
  bool start_array(std::size_t n) override {
    settle();
    is_open_ = has_ids_ && n_objects_ == 1;
    return is_open_ || Builder::start_array(n);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!is_open_ || !std::in_range<TokenId>(value)) {
      return settle() && Builder::number_unsigned(value);
    }
    const auto bytes =
        std::bit_cast<std::array<std::uint8_t, sizeof(TokenId)>>(static_cast<TokenId>(value));
    ids_.insert(ids_.end(), bytes.begin(), bytes.end());
    return true;
  }
  bool end_array() override {
    if (ids_.empty()) return settle() && Builder::end_array();
    is_open_ = false;
    return add(Json::binary(std::exchange(ids_, {})));  // a binary_t would be copied
  }

 private:
  /// What was taken for a list of ids is another one.
  bool settle() {
    if (!std::exchange(is_open_, false)) return true;
    Builder::start_array(0);
    Json list = Json::binary(std::exchange(ids_, {}));
    for (const TokenId id : ids_of(list)) {
      Builder::number_unsigned(static_cast<number_unsigned_t>(id));
    }
    return true;
  }

  std::span<const std::string_view> fields_;
  std::size_t n_objects_ = 0;  ///< That are open.
  bool has_ids_ = false;       ///< The outermost object's field is one of these.
  bool is_open_ = false;       ///< A list that has begun, and held nothing but ids so far.
  std::vector<std::uint8_t> ids_;
};

}  // namespace

void parse_json(std::string text, std::string_view name, Events& events) {
  const auto refuse = [&](std::size_t at) {
    input_error("{}: no valid JSON at byte {}", name, std::min(at, text.size()) + 1);
  };
  // The parser takes one for the end of the text.
  if (const std::size_t at = text.find('\0'); at != text.npos) {
    input_error("{}: no valid JSON at byte {}: a zero byte", name, at + 1);
  }
  // The parser's own check of UTF-8 reads past what is cut short.
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Front front = utf8_front(rest);
    if (front.kind != Utf8Kind::kCharacter) refuse(text.size() - rest.size());
    rest.remove_prefix(front.size_bytes);
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  const std::size_t begin = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  rapidjson::InsituStringStream stream(text.data() + begin);
  StrictEvents strict(text.data(), name, events);
  rapidjson::Reader reader;
  constexpr unsigned kFlags = rapidjson::kParseInsituFlag | rapidjson::kParseNumbersAsStringsFlag;
  if (reader.Parse<kFlags>(stream, strict)) return;
  const std::size_t at = begin + reader.GetErrorOffset();
  if (reader.GetParseErrorCode() == rapidjson::kParseErrorNumberTooBig) {
    strict.refuse_number(text.data() + at);
  }
  refuse(at);
}

Json parse_json(std::string text, std::string_view name) {
  Builder builder;
  parse_json(std::move(text), name, builder);
  return builder.take();
}

Json parse_json_with_ids(std::string text, std::string_view name,
                         std::span<const std::string_view> fields) {
  IdListBuilder builder(fields);
  parse_json(std::move(text), name, builder);
  return builder.take();
}

std::vector<TokenId> ids_of(const Json& binary) {
  const auto& bytes = binary.get_binary();
  std::vector<TokenId> ids(bytes.size() / sizeof(TokenId));
  if (!ids.empty()) std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(TokenId));
  return ids;
}

std::optional<std::uint64_t> whole_number(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

std::string json_text(const Json& value) {
  constexpr std::size_t kLongest = 80;
  // A long one is not written to be cut.
  if (value.is_string() && value.get_ref<const std::string&>().size() > kLongest) {
    return json_text(Json(value.get_ref<const std::string&>().substr(0, kLongest)));
  }
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text.replace(kLongest, text.npos, "...");
  return text;
}

std::string utf8_name(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const Utf8Front front = utf8_front(bytes);
    const std::string_view taken = bytes.substr(0, front.size_bytes);
    if (front.kind == Utf8Kind::kCharacter && !bytes.starts_with("\\x")) {
      text += taken;
    } else {
      for (const char byte : taken) {
        text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
    bytes.remove_prefix(front.size_bytes);
  }
  return text;
}

}  // namespace longreach::base
