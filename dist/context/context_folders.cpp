#include "dist/context/context_folders.hpp"

#include "dist/comm/gather_texts.hpp"
#include "model/checkpoint/checksum.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace longreach::dist {
namespace {

constexpr const char* kDamageMark = "damaged";

}  // namespace

ContextFolders folders_of(const ContextFolders& folders, std::size_t n_tokens) {
  ContextFolders used = folders;
  while (used.size() > 1 && used.back().n_before >= n_tokens) used.pop_back();
  return used;
}

std::uint32_t mark_of(std::string_view context_id, std::string_view file, std::size_t number) {
  const std::string text = fmt::format("{} {} {}", context_id, file, number);
  return model::crc32_of(std::as_bytes(std::span(text)));
}

std::filesystem::path state_path(const ContextFolder& folder, std::size_t n_tokens) {
  return folder.path / "states" / std::to_string(n_tokens);
}

void mark_damaged(const std::filesystem::path& context) {
  std::ofstream mark(context / kDamageMark);
}

bool is_marked_damaged(const ContextFolders& folders) {
  return std::ranges::any_of(folders, [](const ContextFolder& folder) {
    std::error_code ignored;
    return std::filesystem::exists(folder.path / kDamageMark, ignored);
  });
}

std::vector<ContextFolders> share_folders(Communicator& ranks,
                                          const std::vector<ContextFolders>& contexts) {
  std::string text;  // a name may hold anything but zeros
  for (const ContextFolders& folders : contexts) {
    for (const ContextFolder& folder : folders) {
      text +=
          folder.path.string() + '\0' + std::to_string(folder.n_before) + '\0' + folder.id + '\0';
    }
  }
  std::vector<ContextFolders> shared;
  std::istringstream fields(gather_texts(ranks, text).front());
  for (std::string path, n_before, id; std::getline(fields, path, '\0') &&
                                       std::getline(fields, n_before, '\0') &&
                                       std::getline(fields, id, '\0');) {
    const std::size_t n = std::stoull(n_before);
    if (n == 0) shared.emplace_back();
    shared.back().push_back({path, n, id});
  }
  return shared;
}

}  // namespace longreach::dist
