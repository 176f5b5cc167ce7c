/// A context as the leader sees it: which states are saved, of which tokens, and what decides them.
/// format.md describes the files.
#pragma once

#include "dist/context/file.hpp"
#include "kernels/base/types.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace longreach::dist {

/// What decides what is saved, as names and values.
using ContextSettings = std::vector<std::pair<std::string, std::string>>;

/// A state that is saved completely.
struct SavedState {
  std::size_t n_tokens = 0;
  std::uint32_t tokens_crc32 = 0;  ///< Of their ids, as the file has them.
};

/// Of token ids, as a context's files have it.
std::uint32_t checksum_of(std::span<const base::TokenId> tokens);

/// Move-only. Errors of all calls: InputError naming the context or its file.
class ContextDirectory {
 public:
  /// Whether there is one.
  static bool exists(const std::filesystem::path& directory);
  /// One that is there, to read.
  static ContextDirectory open(const std::filesystem::path& directory);
  /// One that is there, or a new one, to write; refused while another process writes it.
  static ContextDirectory open_to_write(const std::filesystem::path& directory,
                                        const ContextSettings& settings);

  const std::filesystem::path& path() const { return directory_; }
  const ContextSettings& settings() const { return settings_; }
  /// Ascending; none in a new context.
  const std::vector<SavedState>& states() const { return states_; }
  std::size_t n_tokens() const { return states_.empty() ? 0 : states_.back().n_tokens; }

  /// Whether no common name has another value.
  bool has(const ContextSettings& settings) const;
  /// Refuses what does not.
  void require(const ContextSettings& settings) const;

  /// All tokens, as their checksum says.
  std::vector<base::TokenId> tokens() const;

  /// The state after these tokens, which continue those of the last state, has been saved: from now
  /// on it exists. Returns when that is on the disk.
  void add_state(std::span<const base::TokenId> tokens);

 private:
  struct Difference {
    std::string name, saved, wanted;
  };

  explicit ContextDirectory(std::filesystem::path directory) : directory_(std::move(directory)) {}
  /// The first setting that has another value.
  std::optional<Difference> difference_from(const ContextSettings& settings) const;
  void read_manifest();
  void write_manifest() const;

  std::filesystem::path directory_;
  ContextSettings settings_;
  std::vector<SavedState> states_;
  std::optional<File> lock_;  ///< Of who writes.
};

}  // namespace longreach::dist
