/// The command `tokenize`: text to token ids and back.
#pragma once

#include "launch/options/options.hpp"

namespace longreach::launch {

/// Writes the ids separated by blanks with one line end, or the bytes of ids as they are. Returns
/// the exit code. Errors: InputError.
int run(const TokenizeOptions& options);

}  // namespace longreach::launch
