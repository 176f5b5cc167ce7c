/// The project's one error family. Used by every folder.
///
/// Three kinds of things go wrong:
///  - the world (a torn file, a bad option, too little memory): InputError, one sentence for the
///  user, exit code 2;
///  - a bug of ours: LR_CHECK (always on) and LR_DCHECK (dev builds) print and abort;
///  - an expected "no": std::optional or a return value, not an error.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace longreach::base {

/// Something outside the program is not as it must be. what() is one sentence in lower case without
/// a full stop that names the file, tensor or option, what was expected and what was found, for
/// example
/// `/x/y.pth: tensor blocks.3.att.w1: expected shape [64, 32], found [64, 16]`.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws InputError with a formatted sentence.
template <typename... Args>
[[noreturn]] void input_error(fmt::format_string<Args...> format, Args&&... args) {
  throw InputError(fmt::format(format, std::forward<Args>(args)...));
}

/// Prints where a check failed and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition) noexcept;

}  // namespace longreach::base

/// Aborts when `condition` is false: a bug of ours, never a matter of input.
#define LR_CHECK(condition) \
  ((condition) ? void(0) : ::longreach::base::check_failed(__FILE__, __LINE__, #condition))

/// LR_CHECK in builds with assertions, nothing in release builds.
#ifdef NDEBUG
#define LR_DCHECK(condition) void(0)
#else
#define LR_DCHECK(condition) LR_CHECK(condition)
#endif
