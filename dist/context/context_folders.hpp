/// Where the files of a context lie: in its own folder, and in those of the contexts it goes on
/// after.
#pragma once

#include "dist/comm/communicator.hpp"

#include <cstddef>
#include <filesystem>
#include <vector>

namespace longreach::dist {

/// A folder, and how many tokens are read before the first one it has files of.
struct ContextFolder {
  std::filesystem::path path;
  std::size_t n_before = 0;
};

/// A context's own folder last. `n_before` ascends from 0.
using ContextFolders = std::vector<ContextFolder>;

/// Those that the first n_tokens tokens lie in.
ContextFolders folders_of(const ContextFolders& folders, std::size_t n_tokens);

/// The file of the state after n_tokens tokens.
std::filesystem::path state_path(const ContextFolders& folders, std::size_t n_tokens);

/// Leaves a mark in a context's folder: a chunk in it is not as it was written. As far as the
/// system lets it.
void mark_damaged(const std::filesystem::path& context);
/// Whether one of the folders has that mark.
bool is_marked_damaged(const ContextFolders& folders);

/// The contexts that rank 0 names, on all ranks. Collective.
std::vector<ContextFolders> share_folders(Communicator& ranks,
                                          const std::vector<ContextFolders>& contexts);

}  // namespace longreach::dist
