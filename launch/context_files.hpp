/// The files of a server's contexts, in one folder: <id>/ is a context (dist/context/format.md),
/// <id>.json what clients call it, and that it is deleted while it is being deleted, and <id>.text
/// the text while it is not read to its end.
#pragma once

#include "kernels/base/types.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::launch {

/// What clients may write into a path as it is.
bool is_plain_name(std::string_view name);

/// What is known of a context beside what it holds; what an older server did not write is absent.
struct AboutContext {
  bool is_deleted = false;
  std::optional<std::string> name = {};
  std::optional<std::int64_t> created = {};  ///< Seconds since 1970.
  std::optional<bool> is_pinned = {};
  std::optional<std::int64_t> used = {};  ///< Milliseconds since 1970.
};

class ContextFiles {
 public:
  explicit ContextFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_of(const std::string& id) const { return folder_ / id; }
  /// What the context takes on the disk; less if it changes meanwhile.
  std::size_t disk_bytes(const std::string& id) const;
  /// Whether it goes on after the other one; false if it cannot be read.
  bool goes_on_after(const std::string& id, const std::string& other) const;

  /// Ids of which there is something, in order.
  std::vector<std::string> ids_with_text() const;
  std::vector<std::string> ids_with_about() const;

  /// Nothing where there is no good file: a name is nothing to fail for.
  AboutContext read_about(const std::string& id) const;
  /// Errors: InputError.
  void write_about(const std::string& id, const AboutContext& about) const;

  /// None if the file is not there. Errors: InputError naming it.
  std::optional<std::vector<base::TokenId>> read_text(const std::string& id) const;
  /// Errors: InputError.
  void write_text(const std::string& id, std::span<const base::TokenId> tokens) const;
  void remove_text(const std::string& id) const;

  /// From now on it is deleted, whatever becomes of its files. Returns why that cannot be written,
  /// empty if it is: a full disk must not keep what fills it.
  std::string mark_deleted(const std::string& id) const;
  /// Whether nothing is left of the context. If something is, what marks it as deleted stays, too.
  bool remove(const std::string& id) const;
  /// Whether it is a context without a state, which nobody is about to save.
  bool is_empty(const std::string& id) const;

 private:
  std::filesystem::path path_of(const std::string& id, std::string_view suffix) const;
  /// Names of plain files that end in a suffix, without it.
  std::vector<std::string> names_with(std::string_view suffix) const;

  std::filesystem::path folder_;
};

}  // namespace longreach::launch
