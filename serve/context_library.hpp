/// Texts that are read once and kept, as clients of the server see them.
#pragma once

#include "kernels/base/types.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {

enum class ContextStatus {
  kWaiting,  ///< For others to be read.
  kReading,
  kReady,
  kFailed,  ///< See ContextInfo::error. What was read of it serves prompts that begin with it.
};

/// "waiting", "reading", "ready" or "failed".
std::string_view name_of(ContextStatus status);

struct ContextInfo {
  std::string id;            ///< The server's.
  std::string name = {};     ///< The client's; may be empty.
  std::int64_t created = 0;  ///< Seconds since 1970.
  std::size_t n_tokens = 0;  ///< Of the text.
  std::size_t n_read = 0;    ///< Of these.
  std::size_t n_saved =
      0;  ///< Of these, on the disk: what a server that is killed need not read again.
  std::size_t n_bytes = 0;  ///< On the disk, of what is ready.
  ContextStatus status = ContextStatus::kWaiting;
  std::string error = {};                   ///< One sentence, if it failed.
  std::optional<double> seconds_left = {};  ///< Of reading, if it is being read.
  /// Stays until a client deletes it. Others were kept of prompts, and give way to newer ones.
  bool is_pinned = true;
};

/// What all of them take on the disk.
struct ContextUsage {
  std::size_t n_bytes = 0;
  std::size_t budget_bytes = 0;  ///< Beyond which no prompt is kept.
  std::size_t n_evicted = 0;     ///< That gave way to others, since the server began.
};

/// What is to be different.
struct ContextChange {
  std::optional<std::string> name = {};
  std::optional<bool> is_pinned = {};
};

/// Errors of all calls: ApiError, 404 for an id that no context has.
class ContextLibrary {
 public:
  virtual ~ContextLibrary() = default;

  // From any thread:

  virtual std::vector<ContextInfo> list() const = 0;
  virtual ContextInfo find(const std::string& id) const = 0;
  virtual ContextUsage usage() const = 0;
  /// Of one that is ready. Errors: ApiError 409 for others.
  virtual std::vector<base::TokenId> tokens(const std::string& id) const = 0;

  // On the thread of the service's loop:

  /// Reads a text (one token at least) in the background, and keeps it until it is deleted. One
  /// that is there already is named and, if it was not read to its end, read on. Errors: ApiError
  /// 429 if too many wait, 500 if the disk does not take it.
  virtual ContextInfo add(std::vector<base::TokenId> tokens, const std::string& name) = 0;
  virtual ContextInfo change(const std::string& id, const ContextChange& wanted) = 0;
  /// Ends its reading, and frees its place on the disk. Answers that are being written are not
  /// disturbed. Errors: ApiError 409 if another context goes on after it.
  virtual void remove(const std::string& id) = 0;
};

}  // namespace longreach::serve
