/// A context as the leader sees it: which states are saved, of which tokens, and what decides them.
/// format.md describes the files.
#pragma once

#include "dist/context/context_folders.hpp"
#include "dist/context/file.hpp"
#include "kernels/base/types.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longreach::dist {

/// What decides what is saved, as names and values.
using ContextSettings = std::vector<std::pair<std::string, std::string>>;

/// The one that says which initial state the first token was read after; without it, zeros.
inline constexpr std::string_view kInitialStateSetting = "initial_state";
/// The one that says what activations were rounded to; without it, to nothing less than f32.
inline constexpr std::string_view kActivationsSetting = "activations";
/// The same where they met a cache of fewer bits.
inline constexpr std::string_view kAttentionActivationsSetting = "attention_activations";

/// The path of instructions: a run may take its bits for those of another one.
inline constexpr std::string_view kIsaSetting = "isa";
/// What ids are made of text with: a run that is given ids need not know.
inline constexpr std::string_view kVocabularySetting = "vocabulary";

/// A state that is saved completely.
struct SavedState {
  std::size_t n_tokens = 0;
  std::uint32_t tokens_crc32 = 0;  ///< Of their ids, as the file has them.
};

/// What a context goes on after: a state of another one.
struct ContextParent {
  std::filesystem::path directory;
  SavedState state;
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
  /// One that is there, or a new one, which goes on after `parent` if there is one, to write;
  /// refused while another process writes it. Gone again with the object if no state came to be.
  static ContextDirectory open_to_write(const std::filesystem::path& directory,
                                        const ContextSettings& settings,
                                        const std::optional<ContextParent>& parent = {});
  /// Whether an object, of this process or another one, writes it.
  static bool is_being_written(const std::filesystem::path& directory);
  ContextDirectory(ContextDirectory&&) = default;
  ContextDirectory& operator=(ContextDirectory&&) = delete;
  ~ContextDirectory();

  const std::filesystem::path& path() const { return directory_; }
  /// Its own and those of the contexts it goes on after.
  const ContextFolders& folders() const { return folders_; }
  const ContextSettings& settings() const { return settings_; }
  const std::optional<ContextParent>& parent() const { return parent_; }
  /// Ascending, those of the contexts it goes on after included; none in a new context.
  const std::vector<SavedState>& states() const { return states_; }
  std::size_t n_tokens() const { return states_.empty() ? 0 : states_.back().n_tokens; }
  /// Whether it has a state of its own.
  bool has_own_state() const { return n_tokens() > folders_.back().n_before; }

  /// The first setting that is another one than here, as "was saved with kv bf16, this run has
  /// f32". None if it has these settings and no others, but those two that may be left out.
  std::optional<std::string> difference_from(const ContextSettings& settings) const;
  /// Refuses what has one.
  void require(const ContextSettings& settings) const;

  /// All tokens, as their checksum says.
  std::vector<base::TokenId> tokens() const;

  /// The state after these tokens, which continue those of the last state, has been saved: from now
  /// on it exists. Returns when that is on the disk.
  void add_state(std::span<const base::TokenId> tokens);

  /// Copies the tokens of the contexts it goes on after, whose chunks and states are in its own
  /// folder already; from now on it needs them no more. Returns when that is on the disk.
  void forget_parent();

 private:
  explicit ContextDirectory(std::filesystem::path directory);
  static ContextDirectory open(const std::filesystem::path& directory, std::size_t n_children);
  void read_manifest(std::size_t n_children);
  void read_parent(const nlohmann::json& json, std::size_t n_children);
  void write_manifest() const;

  std::filesystem::path directory_;
  ContextFolders folders_;
  ContextSettings settings_;
  std::optional<ContextParent> parent_;
  std::vector<SavedState> states_;
  std::unique_ptr<File> lock_;               ///< Of who writes.
  std::vector<std::filesystem::path> made_;  ///< By this object.
};

}  // namespace longreach::dist
