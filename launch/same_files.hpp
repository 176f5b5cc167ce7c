/// Whether the ranks of a job see the same files: each may have copies of its own, and an old copy
/// among them would make results that belong to no model.
#pragma once

#include "dist/comm/world.hpp"

#include <filesystem>
#include <span>

namespace longreach::launch {

/// A file that a run reads.
struct InputFile {
  /// Who reads it: all ranks, or only some of them; the others may be without it.
  enum class Readers { kAll, kSome };
  std::filesystem::path path;  ///< Empty: there is none.
  Readers readers;
};

/// Requires that the ranks see the same contents in the regular files of these names, which each
/// gives in the same order. A file that all share is not read; else the contents are, once for
/// each copy. Collective. Errors: AgreedError naming two ranks and the file.
void require_same_files(std::span<const InputFile> files, dist::World& world);

}  // namespace longreach::launch
