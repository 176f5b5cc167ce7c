#include "kernels/base/json.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/utf8.hpp"

#include <nlohmann/json.hpp>

#include <set>
#include <utility>
#include <vector>

namespace longreach::base {
namespace {

using Json = nlohmann::json;
using Events = nlohmann::json_sax<Json>;

/// Passes events on once they are judged.
class StrictEvents final : public Events {
 public:
  StrictEvents(std::string_view name, Events& next) : name_(name), next_(next) {}

  bool null() override { return next_.null(); }
  bool boolean(bool value) override { return next_.boolean(value); }
  bool number_integer(number_integer_t value) override { return next_.number_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return next_.number_unsigned(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    return next_.number_float(value, text);
  }
  bool string(string_t& value) override { return next_.string(value); }
  bool binary(binary_t& value) override { return next_.binary(value); }
  bool start_object(std::size_t n) override {
    enter();
    return next_.start_object(n);
  }
  bool key(string_t& value) override {
    if (!keys_.back().insert(value).second) {
      input_error("{}: the key {} stands twice in one object", name_, json_text(value));
    }
    return next_.key(value);
  }
  bool end_object() override {
    keys_.pop_back();
    return next_.end_object();
  }
  bool start_array(std::size_t n) override {
    enter();
    return next_.start_array(n);
  }
  bool end_array() override {
    keys_.pop_back();
    return next_.end_array();
  }
  bool parse_error(std::size_t position, const std::string& last,
                   const Json::exception& error) override {
    constexpr int kNumberOverflow = 406;
    if (error.id == kNumberOverflow) {
      input_error("{}: the number {} at byte {} is out of range", name_, json_text(last), position);
    }
    input_error("{}: no valid JSON at byte {}", name_, position);
  }

 private:
  void enter() {
    if (keys_.size() == kDeepestJson) {
      input_error("{}: JSON with more than {} lists and objects inside one another", name_,
                  kDeepestJson);
    }
    keys_.emplace_back();
  }

  std::string_view name_;
  Events& next_;
  std::vector<std::set<std::string>> keys_;  ///< Of each object that is open; empty for lists.
};

/// Makes the value.
class Builder final : public Events {
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

}  // namespace

void parse_json(std::string_view text, std::string_view name, Events& events) {
  // The parser takes one for the end of the text.
  if (const std::size_t at = text.find('\0'); at != text.npos) {
    input_error("{}: no valid JSON at byte {}: a zero byte", name, at + 1);
  }
  StrictEvents strict(name, events);
  Json::sax_parse(text.begin(), text.end(), &strict);
}

Json parse_json(std::string_view text, std::string_view name) {
  Builder builder;
  parse_json(text, name, builder);
  return builder.take();
}

std::optional<std::uint64_t> whole_number(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

std::string json_text(const Json& value) {
  constexpr std::size_t kLongest = 80;
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
