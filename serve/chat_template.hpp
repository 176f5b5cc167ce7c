/// A conversation as the text that RWKV World and G1 models were trained to continue.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace longreach::serve {

enum class ChatRole { kSystem, kUser, kAssistant };

struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::string content;
};

/// "User: ..\n\nAssistant: ..\n\nUser: ..\n\nAssistant:". An empty line ends a turn, so those
/// inside a message become line ends: no message can pass for several.
std::string chat_prompt(std::span<const ChatMessage> messages);

/// Where the answer ends at the latest: the model goes on with the next turn.
inline constexpr std::string_view kChatStop = "\n\nUser:";

/// The same template for clients that apply it themselves, in Jinja's language.
std::string_view chat_template_jinja();

}  // namespace longreach::serve
