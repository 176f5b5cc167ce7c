#include "serve/chat_template.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace longreach::serve {
namespace {

using nlohmann::json;

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kMessage = "{}";
constexpr std::array<const char*, kChatRoles> kNames = {"system", "user", "assistant"};

std::string_view trimmed(std::string_view content) {
  const auto first = content.find_first_not_of(kBlanks);
  if (first == content.npos) return {};
  return content.substr(first, content.find_last_not_of(kBlanks) + 1 - first);
}

/// Appends a trimmed content with one line end for each run of them.
void append_paragraph(std::string& text, std::string_view content) {
  for (const char c : content) {
    if (c == '\r' || (c == '\n' && text.back() == '\n')) continue;
    text += c;
  }
}

ChatTemplate::Turn turn_of(std::string_view text, std::string_view field, std::string_view name) {
  const auto message = text.find(kMessage);
  if (message == text.npos || text.find(kMessage, message + 1) != text.npos) {
    base::input_error("{}: {}: expected a text with one {{}} for the message, found {}", name,
                      field, base::json_text(json(text)));
  }
  return {std::string(text.substr(0, message)),
          std::string(text.substr(message + kMessage.size()))};
}

std::optional<std::string> text_in(const json& object, const char* field, std::string_view name) {
  const auto found = object.find(field);
  if (found == object.end()) return std::nullopt;
  if (!found->is_string()) {
    base::input_error("{}: {}: expected a text, found {}", name, field, base::json_text(*found));
  }
  return found->get<std::string>();
}

/// An expression of Jinja that is this text, whatever it holds.
std::string jinja_text(std::string_view text) { return "{{ " + json(text).dump() + " }}"; }

}  // namespace

std::string ChatTemplate::prompt(std::span<const ChatMessage> messages) const {
  std::size_t n_bytes = answer.size();
  for (const auto& [role, content] : messages) {
    n_bytes += turn(role).before.size() + content.size() + turn(role).after.size();
  }
  std::string text;
  text.reserve(n_bytes);
  for (const ChatMessage& message : messages) {
    const std::string_view content = trimmed(message.content);
    text += turn(message.role).before;
    if (turns_are_paragraphs) {
      append_paragraph(text, content);
    } else {
      text += content;
    }
    text += turn(message.role).after;
  }
  text += answer;
  return text;
}

std::string ChatTemplate::jinja() const {
  const std::string_view content =
      turns_are_paragraphs
          ? R"({{ message['content'].replace('\r', '').strip(' \t\n').split('\n') | select | join('\n') }})"
          : R"({{ message['content'].strip(' \t\r\n') }})";
  std::string text = "{% for message in messages %}";
  for (std::size_t role = 0; role < kChatRoles; ++role) {
    const bool is_system = role == static_cast<std::size_t>(ChatRole::kSystem);
    text += role == 0 ? "{% if" : "{% elif";
    text += " message['role'] ";
    text += is_system ? "in ['system', 'developer']" : std::string("== '") + kNames[role] + "'";
    text += " %}" + jinja_text(turns[role].before) + std::string(content) +
            jinja_text(turns[role].after);
  }
  return text + "{% endif %}{% endfor %}{% if add_generation_prompt %}" + jinja_text(answer) +
         "{% endif %}";
}

const ChatTemplate& world_chat() {
  static const ChatTemplate chat = {
      {{{"System: ", "\n\n"}, {"User: ", "\n\n"}, {"Assistant: ", "\n\n"}}},
      "Assistant:",
      {"\n\nUser:"},
      true};
  return chat;
}

ChatTemplate parse_chat_template(std::string_view text, std::string_view name) {
  const json object = base::parse_json(std::string(text), name);
  if (!object.is_object()) {
    base::input_error("{}: expected a JSON object, found {}", name, base::json_text(object));
  }
  ChatTemplate chat = world_chat();
  chat.stops.clear();
  for (std::size_t role = 0; role < kChatRoles; ++role) {
    const auto turn = text_in(object, kNames[role], name);
    if (turn) chat.turns[role] = turn_of(*turn, kNames[role], name);
  }
  chat.answer = text_in(object, "answer", name).value_or(chat.answer);
  const json stops = object.value("stop", json::array());
  for (const json& stop : stops.is_array() ? stops : json::array({stops})) {
    if (!stop.is_string() || stop.get_ref<const std::string&>().empty()) {
      base::input_error("{}: stop: expected texts that are not empty, found {}", name,
                        base::json_text(stop));
    }
    chat.stops.push_back(stop.get<std::string>());
  }
  const json paragraphs = object.value("paragraphs", json(false));
  if (!paragraphs.is_boolean()) {
    base::input_error("{}: paragraphs: expected true or false, found {}", name,
                      base::json_text(paragraphs));
  }
  chat.turns_are_paragraphs = paragraphs.get<bool>();
  for (const auto& [field, value] : object.items()) {
    const bool is_known = std::ranges::count(kNames, field) > 0 || field == "answer" ||
                          field == "stop" || field == "paragraphs";
    if (!is_known) {
      base::input_error(
          "{}: expected system, user, assistant, answer, stop and paragraphs, found {}", name,
          base::json_text(json(field)));
    }
  }
  return chat;
}

}  // namespace longreach::serve
