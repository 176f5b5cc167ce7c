/// Text from untrusted files, made fit for a one-line message. Used by the checkpoint readers.
#pragma once

#include <string>
#include <string_view>

namespace longreach::model {

/// `text` with every byte outside printable ASCII as \xNN, cut after 80 bytes (then ending in
/// "...").
std::string printable(std::string_view text);

/// Whether `text` has nothing but printable ASCII.
bool is_printable(std::string_view text);

}  // namespace longreach::model
