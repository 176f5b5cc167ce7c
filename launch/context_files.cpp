#include "launch/context_files.hpp"

#include "dist/context/context_directory.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <system_error>

namespace longreach::launch {
namespace {

using base::TokenId;

constexpr std::size_t kLargestAbout = std::size_t{1} << 16;
constexpr std::string_view kTextSuffix = ".text", kAboutSuffix = ".json";

std::optional<std::int64_t> number_at(const nlohmann::json& object, const char* name) {
  const auto number = base::whole_number(object.value(name, nlohmann::json()));
  if (!number) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

}  // namespace

bool is_plain_name(std::string_view name) {
  return std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

std::filesystem::path ContextFiles::path_of(const std::string& id, std::string_view suffix) const {
  return folder_ / fmt::format("{}{}", id, suffix);
}

std::size_t ContextFiles::disk_bytes(const std::string& id) const {
  constexpr std::size_t kBlock = 512;  // of stat, whatever the file system; files have holes
  std::size_t n_bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator file(folder_of(id), error), end;
       !error && file != end; file.increment(error)) {
    struct stat status = {};
    if (stat(file->path().c_str(), &status) == 0) {
      n_bytes += static_cast<std::size_t>(status.st_blocks) * kBlock;
    }
  }
  return n_bytes;
}

bool ContextFiles::goes_on_after(const std::string& id, const std::string& other) const {
  try {
    const auto folders = dist::ContextDirectory::open(folder_of(id)).folders();
    return std::ranges::any_of(
        std::span(folders).first(folders.size() - 1), [&](const dist::ContextFolder& folder) {
          std::error_code ignored;
          return std::filesystem::equivalent(folder.path, folder_of(other), ignored);
        });
  } catch (const base::InputError&) {
    return false;
  }
}

std::vector<std::string> ContextFiles::names_with(std::string_view suffix) const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = file.path().filename().string();
    if (!name.ends_with(suffix) || !is_plain_name(name) || !file.is_regular_file(error)) continue;
    names.push_back(name.substr(0, name.size() - suffix.size()));
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> ContextFiles::ids_with_text() const { return names_with(kTextSuffix); }

std::vector<std::string> ContextFiles::ids_with_about() const { return names_with(kAboutSuffix); }

AboutContext ContextFiles::read_about(const std::string& id) const {
  AboutContext about;
  nlohmann::json object;
  try {
    object =
        base::parse_json(base::read_regular_file(path_of(id, kAboutSuffix), kLargestAbout), id);
  } catch (const base::InputError&) {
    return about;
  }
  if (!object.is_object()) return about;
  about.is_deleted = object.value("deleted", nlohmann::json()) == true;
  const auto name = object.value("name", nlohmann::json());
  if (name.is_string()) about.name = name.get<std::string>();
  const auto pinned = object.value("pinned", nlohmann::json());
  if (pinned.is_boolean()) about.is_pinned = pinned.get<bool>();
  about.created = number_at(object, "created");
  about.used = number_at(object, "used_ms");
  return about;
}

void ContextFiles::write_about(const std::string& id, const AboutContext& about) const {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  if (about.is_deleted) object["deleted"] = true;
  if (about.name) object["name"] = *about.name;
  if (about.created) object["created"] = *about.created;
  if (about.is_pinned) object["pinned"] = *about.is_pinned;
  if (about.used) object["used_ms"] = *about.used;
  base::write_file(path_of(id, kAboutSuffix), object.dump() + "\n");
}

std::optional<std::vector<TokenId>> ContextFiles::read_text(const std::string& id) const {
  const std::filesystem::path path = path_of(id, kTextSuffix);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  const std::string bytes = base::read_regular_file(path);
  std::vector<TokenId> tokens(bytes.size() / sizeof(TokenId));
  std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(TokenId));
  return tokens;
}

void ContextFiles::write_text(const std::string& id, std::span<const TokenId> tokens) const {
  const auto bytes = std::as_bytes(tokens);
  base::write_file(path_of(id, kTextSuffix),
                   {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void ContextFiles::remove_text(const std::string& id) const {
  std::error_code ignored;
  std::filesystem::remove(path_of(id, kTextSuffix), ignored);
}

std::string ContextFiles::mark_deleted(const std::string& id) const {
  try {
    write_about(id, {.is_deleted = true});
    return {};
  } catch (const base::InputError& error) {
    return error.what();
  }
}

bool ContextFiles::remove(const std::string& id) const {
  std::error_code error;
  remove_text(id);
  std::filesystem::remove_all(folder_of(id), error);
  if (std::filesystem::exists(folder_of(id), error)) return false;  // the next start goes on
  std::filesystem::remove(path_of(id, kAboutSuffix), error);
  return true;
}

bool ContextFiles::is_empty(const std::string& id) const {
  try {
    return !dist::ContextDirectory::is_being_written(folder_of(id)) &&
           dist::ContextDirectory::open(folder_of(id)).n_tokens() == 0;
  } catch (const base::InputError&) {
    return false;
  }
}

}  // namespace longreach::launch
