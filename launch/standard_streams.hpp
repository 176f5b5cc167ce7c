/// Standard input and output as bytes, unbuffered, with every error reported.
#pragma once

#include <string>
#include <string_view>

namespace longreach::launch {

/// What became of a write.
enum class WriteResult {
  kWritten,
  kReaderGone,  ///< The other end of a pipe was closed: stop quietly.
};

/// Makes writes to a closed pipe, or beyond the largest file allowed, return instead of ending the
/// process, and keeps the places of standard streams that are closed, so that no file that is
/// opened later gets one of them and what is written there. Called once, before anything is opened.
void prepare_standard_streams();

/// Writes all bytes to standard output at once. Errors: InputError, for example for a full disk.
WriteResult write_output(std::string_view bytes);

/// Whether what is written to standard error is likely to be seen right behind standard output: on
/// a terminal, or in the same file or pipe.
bool error_follows_output();

/// Everything from standard input up to its end. Errors: InputError.
std::string read_input();

}  // namespace longreach::launch
