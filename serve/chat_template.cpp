#include "serve/chat_template.hpp"

namespace longreach::serve {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view name_of(ChatRole role) {
  switch (role) {
    case ChatRole::kSystem:
      return "System";
    case ChatRole::kUser:
      return "User";
    case ChatRole::kAssistant:
      return "Assistant";
  }
  return "?";
}

/// Without blanks around it, and with one line end for each run of them.
std::string one_turn(std::string_view content) {
  const auto first = content.find_first_not_of(kBlanks);
  if (first == content.npos) return {};
  content = content.substr(first, content.find_last_not_of(kBlanks) + 1 - first);
  std::string text;
  for (const char c : content) {
    if (c == '\r' || (c == '\n' && text.back() == '\n')) continue;
    text += c;
  }
  return text;
}

}  // namespace

std::string chat_prompt(std::span<const ChatMessage> messages) {
  std::string text;
  for (const ChatMessage& message : messages) {
    text += name_of(message.role);
    text += ": ";
    text += one_turn(message.content);
    text += "\n\n";
  }
  return text + "Assistant:";
}

std::string_view chat_template_jinja() {
  return "{% for message in messages %}"
         "{{ {'system': 'System', 'developer': 'System', 'user': 'User', 'assistant': "
         "'Assistant'}[message['role']] }}: {{ message['content'] | trim }}\n\n"
         "{% endfor %}"
         "{% if add_generation_prompt %}Assistant:{% endif %}";
}

}  // namespace longreach::serve
