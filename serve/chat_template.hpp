/// A conversation as the text that a model was trained to continue.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

enum class ChatRole { kSystem, kUser, kAssistant };
inline constexpr std::size_t kChatRoles = 3;

struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::string content;
};

struct ChatTemplate {
  /// What stands around a message of a role.
  struct Turn {
    std::string before, after;
  };

  std::array<Turn, kChatRoles> turns;  ///< By role.
  std::string answer;                  ///< What the answer goes on after.
  /// Where the answer ends at the latest, as the model goes on with the next turn.
  std::vector<std::string> stops = {};
  /// An empty line ends a turn, so those inside a message become line ends: no message can pass for
  /// several.
  bool turns_are_paragraphs = false;

  const Turn& turn(ChatRole role) const { return turns[static_cast<std::size_t>(role)]; }
  /// The messages, without blanks around them, and the beginning of the answer.
  std::string prompt(std::span<const ChatMessage> messages) const;
  /// The same for clients that apply it themselves, in Jinja's language.
  std::string jinja() const;
};

/// That of RWKV World and G1 models:
/// "User: ..\n\nAssistant: ..\n\nUser: ..\n\nAssistant:".
const ChatTemplate& world_chat();

/// Reads
///   {"system": "<s>{}</s>", "user": .., "assistant": .., "answer": "..", "stop": [".."],
///    "paragraphs": true}
/// where {} stands for a message; what is absent is as in a World chat, "stop" and "paragraphs" are
/// none and false. Errors: InputError naming `name`.
ChatTemplate parse_chat_template(std::string_view text, std::string_view name);

}  // namespace longreach::serve
