#include "launch/options/attention_options.hpp"

#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

namespace longreach::launch {
namespace {

/// Lists the values of a part, or of all.
class ListValues {
 public:
  explicit ListValues(std::optional<AttentionPart> part) : part_(part) {}

  void count(const AttentionOption& option, std::size_t value, std::size_t, std::size_t) {
    add(option, std::uint64_t{value});
  }
  template <typename Value>
  void choice(const AttentionOption& option, Value value, std::initializer_list<Value>) {
    add(option, std::string(name_of(value)));
  }
  void flag(const AttentionOption& option, bool value) { add(option, std::uint64_t{value}); }

  eval::Settings settings;

 private:
  void add(const AttentionOption& option, eval::SettingValue value) {
    if (part_.value_or(option.part) == option.part) {
      settings.emplace_back(option.key(), std::move(value));
    }
  }

  std::optional<AttentionPart> part_;
};

}  // namespace

std::string AttentionOption::key() const {
  std::string key(std::string_view(name).substr(2));
  std::ranges::replace(key, '-', '_');
  return key;
}

model::AttentionConfig attention_defaults() {
  model::AttentionConfig attention;
  attention.chunk_size = 0;
  attention.top_k = 0;
  return attention;
}

model::AttentionConfig resolve_attention(model::AttentionConfig asked,
                                         const model::AttentionConfig& of_model) {
  if (asked.chunk_size == 0) asked.chunk_size = of_model.chunk_size;
  if (asked.top_k == 0) asked.top_k = of_model.top_k;
  return asked;
}

void check_attention(const model::AttentionConfig& attention) {
  if (attention.mode == model::AttentionMode::kReference && attention.kv_max > 0 &&
      attention.kv_min <= attention.kv_window) {
    base::input_error("--kv-min: expected more than --kv-window ({}), found {}",
                      attention.kv_window, attention.kv_min);
  }
}

eval::Settings attention_settings(const model::AttentionConfig& attention, AttentionPart part) {
  ListValues list(part);
  visit_attention_options(attention, list);
  return std::move(list.settings);
}

std::string attention_text(const model::AttentionConfig& attention) {
  ListValues list(std::nullopt);
  visit_attention_options(attention, list);
  std::string text;
  for (const auto& [key, value] : list.settings) {
    text += fmt::format("{}{} ", text.empty() ? "" : ", ", key);
    std::visit([&](const auto& printed) { text += fmt::format("{}", printed); }, value);
  }
  return text;
}

}  // namespace longreach::launch
