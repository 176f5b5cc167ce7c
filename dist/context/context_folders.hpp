/// Where the files of a context lie: in its own folder, and in those of the contexts it goes on
/// after.
#pragma once

#include "dist/comm/communicator.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::dist {

/// A folder, how many tokens are read before the first one it has files of, and the context's id.
struct ContextFolder {
  std::filesystem::path path;
  std::size_t n_before = 0;
  std::string id = {};
};

/// A context's own folder last. `n_before` ascends from 0.
using ContextFolders = std::vector<ContextFolder>;

/// Those that the first n_tokens tokens lie in.
ContextFolders folders_of(const ContextFolders& folders, std::size_t n_tokens);

/// What checksums of the part with that number, of a file of a context, are combined with (xor): no
/// other part, file or context has it, but by chance.
std::uint32_t mark_of(std::string_view context_id, std::string_view file, std::size_t number);

/// The file of the state after n_tokens tokens, in the folder that has it.
std::filesystem::path state_path(const ContextFolder& folder, std::size_t n_tokens);

/// Leaves a mark in a context's folder: a chunk in it is not as it was written. As far as the
/// system lets it.
void mark_damaged(const std::filesystem::path& context);
/// Whether one of the folders has that mark.
bool is_marked_damaged(const ContextFolders& folders);

/// The contexts that rank 0 names, on all ranks. Collective.
std::vector<ContextFolders> share_folders(Communicator& ranks,
                                          const std::vector<ContextFolders>& contexts);

}  // namespace longreach::dist
