/// What a service manager that started the program gets to know (the sd_notify protocol of
/// systemd).
#pragma once

#include <string_view>

namespace longreach::launch {

/// Sends a state, such as "READY=1", to the socket that $NOTIFY_SOCKET names; nothing if it names
/// none. A message that cannot be sent is lost and changes nothing else.
void notify_service_manager(std::string_view state);

}  // namespace longreach::launch
