#include "kernels/base/json.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/id_lists.hpp"
#include "kernels/base/utf8.hpp"

#include <nlohmann/json.hpp>

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

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Reads a text once, and holds nothing of it but the string at hand: the library's own parser
/// keeps what it has read of a string three times.
class Parser {
 public:
  Parser(std::string_view text, std::string_view name, Events& events)
      : text_(text), name_(name), events_(events) {}

  void parse() {
    // The end of the text is told by one.
    if (const std::size_t at = text_.find('\0'); at != text_.npos) {
      input_error("{}: no valid JSON at byte {}: a zero byte", name_, at + 1);
    }
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (text_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
    read_value(0);
    skip_blanks();
    if (at_ < text_.size()) fail();
  }

 private:
  [[noreturn]] void fail() const {
    input_error("{}: no valid JSON at byte {}", name_, std::min(at_, text_.size()) + 1);
  }

  char front() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_blanks() { at_ = std::min(text_.size(), text_.find_first_not_of(" \t\n\r", at_)); }
  bool skip(char c) {
    if (front() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!skip(c)) fail();
  }
  void expect(std::string_view word) {
    for (const char c : word) expect(c);
  }

  /// A value inside so many lists and objects, and blanks before it.
  void read_value(std::size_t depth) {
    skip_blanks();
    switch (front()) {
      case '{':
        return read_object(depth + 1);
      case '[':
        return read_list(depth + 1);
      case '"': {
        std::string value = read_string();
        events_.string(value);
        return;
      }
      case 'n':
        expect("null");
        events_.null();
        return;
      case 't':
        expect("true");
        events_.boolean(true);
        return;
      case 'f':
        expect("false");
        events_.boolean(false);
        return;
      default:
        return read_number();
    }
  }

  void check_depth(std::size_t depth) const {
    if (depth > kDeepestJson) {
      input_error("{}: JSON with more than {} lists and objects inside one another", name_,
                  kDeepestJson);
    }
  }

  void read_list(std::size_t depth) {
    check_depth(depth);
    expect('[');
    events_.start_array(kUnknownSize);
    skip_blanks();
    if (!skip(']')) {
      do {
        read_value(depth);
        skip_blanks();
      } while (skip(','));
      expect(']');
    }
    events_.end_array();
  }

  void read_object(std::size_t depth) {
    check_depth(depth);
    expect('{');
    events_.start_object(kUnknownSize);
    skip_blanks();
    if (!skip('}')) {
      std::set<std::string> keys;
      do {
        skip_blanks();
        if (front() != '"') fail();
        std::string key = read_string();
        if (!keys.insert(key).second) {
          input_error("{}: the key {} stands twice in one object", name_, json_text(key));
        }
        events_.key(key);
        skip_blanks();
        expect(':');
        read_value(depth);
        skip_blanks();
      } while (skip(','));
      expect('}');
    }
    events_.end_object();
  }

  void read_number() {
    const std::size_t begin = at_;
    const bool is_negative = skip('-');
    const auto skip_digits = [this] {
      if (!is_digit(front())) fail();
      while (is_digit(front())) ++at_;
    };
    if (!skip('0')) skip_digits();
    bool is_whole = true;
    if (skip('.')) {
      is_whole = false;
      skip_digits();
    }
    if (skip('e') || skip('E')) {
      is_whole = false;
      if (!skip('+')) skip('-');
      skip_digits();
    }
    const std::string text(text_.substr(begin, at_ - begin));
    const auto read_whole = [&](auto number) {
      const bool fits =
          std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc();
      return fits ? std::optional(number) : std::nullopt;
    };
    if (is_whole && is_negative) {
      if (const auto number = read_whole(Json::number_integer_t())) {
        events_.number_integer(*number);
        return;
      }
    } else if (is_whole) {
      if (const auto number = read_whole(Json::number_unsigned_t())) {
        events_.number_unsigned(*number);
        return;
      }
    }
    const double number = std::strtod(text.c_str(), nullptr);
    if (!std::isfinite(number)) {
      input_error("{}: the number {} at byte {} is out of range", name_, json_text(text), at_);
    }
    events_.number_float(number, text);
  }

  std::string read_string() {
    expect('"');
    std::string value;
    value.reserve(n_bytes_to_quote());
    while (!skip('"')) {
      const std::size_t n_plain = n_plain_bytes();
      value.append(text_, at_, n_plain);
      at_ += n_plain;
      if (front() == '\\') {
        read_escape(value);
      } else if (n_plain == 0) {
        fail();  // a control character, no UTF-8, or the end
      }
    }
    return value;
  }

  /// From here to the end of the string; more than its value takes.
  std::size_t n_bytes_to_quote() const {
    std::size_t end = at_;
    while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
    return std::min(end, text_.size()) - at_;
  }

  /// How many bytes from here on stand for themselves in a string.
  std::size_t n_plain_bytes() const {
    std::size_t end = at_;
    while (end < text_.size() && text_[end] != '"' && text_[end] != '\\') {
      const auto byte = static_cast<unsigned char>(text_[end]);
      if (byte < 0x20) break;
      if (byte < 0x80) {
        ++end;
        continue;
      }
      const Utf8Front character = utf8_front(text_.substr(end));
      if (character.kind != Utf8Kind::kCharacter) break;
      end += character.size_bytes;
    }
    return end - at_;
  }

  void read_escape(std::string& value) {
    expect('\\');
    constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (const std::size_t i = kNames.find(front()); i != kNames.npos) {
      ++at_;
      value += kValues[i];
      return;
    }
    char32_t code_point = read_code_unit();
    if (code_point >= 0xd800 && code_point <= 0xdbff) {
      expect('\\');
      const char32_t low = read_code_unit();
      if (low < 0xdc00 || low > 0xdfff) fail();
      code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
    }
    if (is_surrogate(code_point)) fail();
    append_utf8(value, code_point);
  }

  /// "u" and four hexadecimal digits.
  char32_t read_code_unit() {
    constexpr std::size_t kDigits = 4;
    expect('u');
    std::uint32_t unit = 0;
    const std::string_view digits = text_.substr(at_, kDigits);
    const char* const end = digits.data() + digits.size();
    const auto n_read =
        static_cast<std::size_t>(std::from_chars(digits.data(), end, unit, 16).ptr - digits.data());
    at_ += n_read;
    if (n_read != kDigits) fail();
    return unit;
  }

  static constexpr std::size_t kUnknownSize = static_cast<std::size_t>(-1);

  std::string_view text_;
  std::string_view name_;
  Events& events_;
  std::size_t at_ = 0;
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

 private:
  /// The value in its place.
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_object()) return parent[key_] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }
  template <typename Value>
  bool add(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
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
    binary_t list(std::exchange(ids_, {}));
    return binary(list);
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

void parse_json(std::string_view text, std::string_view name, Events& events) {
  Parser(text, name, events).parse();
}

Json parse_json(std::string_view text, std::string_view name) {
  Builder builder;
  parse_json(text, name, builder);
  return builder.take();
}

Json parse_json_with_ids(std::string_view text, std::string_view name,
                         std::span<const std::string_view> fields) {
  IdListBuilder builder(fields);
  parse_json(text, name, builder);
  return builder.take();
}

std::vector<TokenId> ids_of(const Json& binary) {
  const auto& bytes = binary.get_binary();
  std::vector<TokenId> ids(bytes.size() / sizeof(TokenId));
  std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(TokenId));
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
