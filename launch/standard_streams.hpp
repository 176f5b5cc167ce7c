/// Standard input and output as bytes, unbuffered, with every error told.
#pragma once

#include <string>
#include <string_view>

namespace longreach::launch {

/// What became of a write.
enum class WriteResult {
  kWritten,
  kReaderGone,  ///< The other end of a pipe was closed: stop quietly.
};

/// Makes writes to a closed pipe return instead of ending the process. Called once, at the start.
void ignore_broken_pipes();

/// Writes all bytes to standard output at once. Errors: InputError, for example for a full disk.
WriteResult write_output(std::string_view bytes);

/// Whether what is written to standard error is likely to be seen right behind standard output: on
/// a terminal, or in the same file or pipe.
bool error_follows_output();

/// Everything from standard input up to its end. Errors: InputError.
std::string read_input();

}  // namespace longreach::launch
