#include "dist/context/context_directory.hpp"

#include "kernels/base/descriptor.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace longreach::dist {
namespace {

constexpr std::uint64_t kVersion = 1;
/// More than the manifest of any context.
constexpr std::size_t kLargestManifest = std::size_t{64} << 20;

std::filesystem::path manifest_path(const std::filesystem::path& directory) {
  return directory / "manifest.json";
}

std::filesystem::path tokens_path(const std::filesystem::path& directory) {
  return directory / "tokens";
}

[[noreturn]] void refuse_manifest(const std::filesystem::path& path, const char* what) {
  base::input_error("{}: damaged: {}", base::utf8_name(path.string()), what);
}

std::uint64_t number_in(const nlohmann::json& object, const char* key,
                        const std::filesystem::path& path) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found != object.end()) {
    if (const auto number = base::whole_number(*found)) return *number;
  }
  refuse_manifest(path, fmt::format("expected a whole number \"{}\"", key).c_str());
}

const nlohmann::json& part_of(const nlohmann::json& object, const char* key, bool is_array,
                              const std::filesystem::path& path) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found != object.end() && (is_array ? found->is_array() : found->is_object())) return *found;
  refuse_manifest(path, fmt::format("expected \"{}\"", key).c_str());
}

/// Makes the names in a folder lasting.
void sync_folder(const std::filesystem::path& folder) {
  const base::Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.is_open() && ::fsync(opened.number()) == 0) return;
  base::input_error("{}: {}", base::utf8_name(folder.string()),
                    std::error_code(errno, std::generic_category()).message());
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) base::input_error("{}: {}", base::utf8_name(folder.string()), error.message());
}

}  // namespace

std::uint32_t checksum_of(std::span<const base::TokenId> tokens) {
  return model::crc32_of(std::as_bytes(tokens));
}

bool ContextDirectory::exists(const std::filesystem::path& directory) {
  std::error_code ignored;
  return std::filesystem::exists(manifest_path(directory), ignored);
}

ContextDirectory ContextDirectory::open(const std::filesystem::path& directory) {
  ContextDirectory context(directory);
  context.read_manifest();
  return context;
}

ContextDirectory ContextDirectory::open_to_write(const std::filesystem::path& directory,
                                                 const ContextSettings& settings) {
  ContextDirectory context(directory);
  const bool is_new = !exists(directory);
  std::error_code ignored;
  // What is no context is left alone.
  if (is_new && std::filesystem::exists(directory, ignored) &&
      !std::filesystem::exists(directory / "lock", ignored) &&
      (!std::filesystem::is_directory(directory, ignored) ||
       !std::filesystem::is_empty(directory, ignored))) {
    base::input_error("{}: expected a context, an empty folder or a new name",
                      base::utf8_name(directory.string()));
  }
  for (const char* const part : {"cache", "states"}) make_folder(directory / part);
  context.lock_.emplace(directory / "lock", File::Mode::kWrite);
  if (!context.lock_->lock()) {
    base::input_error("{}: another run writes this context", base::utf8_name(directory.string()));
  }
  if (exists(directory)) {
    context.read_manifest();
    context.require(settings);
  } else {
    context.settings_ = settings;
    context.write_manifest();
  }
  return context;
}

void ContextDirectory::read_manifest() {
  const std::filesystem::path path = manifest_path(directory_);
  const nlohmann::json json =
      base::parse_json(base::read_file(path, kLargestManifest), base::utf8_name(path.string()));
  const std::uint64_t version = number_in(json, "version", path);
  if (version != kVersion) {
    base::input_error("{}: expected version {} of the format, found {}",
                      base::utf8_name(path.string()), kVersion, version);
  }
  for (const auto& [name, value] : part_of(json, "settings", false, path).items()) {
    if (!value.is_string()) refuse_manifest(path, "expected settings that are texts");
    settings_.emplace_back(name, value.get<std::string>());
  }
  for (const nlohmann::json& state : part_of(json, "states", true, path)) {
    const std::uint64_t n_tokens = number_in(state, "n_tokens", path);
    const std::uint64_t crc32 = number_in(state, "tokens_crc32", path);
    if (n_tokens <= this->n_tokens() || n_tokens > std::uint64_t{1} << 40 || crc32 > UINT32_MAX) {
      refuse_manifest(path, "expected states in ascending order");
    }
    states_.push_back({n_tokens, static_cast<std::uint32_t>(crc32)});
  }
}

void ContextDirectory::write_manifest() const {
  nlohmann::ordered_json json;
  json["version"] = kVersion;
  json["settings"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : settings_) json["settings"][name] = value;
  json["states"] = nlohmann::ordered_json::array();
  for (const SavedState& state : states_) {
    json["states"].push_back({{"n_tokens", state.n_tokens}, {"tokens_crc32", state.tokens_crc32}});
  }
  base::write_file(manifest_path(directory_), json.dump(1) + "\n");
  sync_folder(directory_ / "cache");
  sync_folder(directory_ / "states");
  sync_folder(directory_);
}

std::optional<ContextDirectory::Difference> ContextDirectory::difference_from(
    const ContextSettings& settings) const {
  for (const auto& [name, value] : settings) {
    const auto found = std::ranges::find(settings_, name, &ContextSettings::value_type::first);
    if (found != settings_.end() && found->second != value) {
      return Difference{name, found->second, value};
    }
  }
  return std::nullopt;
}

bool ContextDirectory::has(const ContextSettings& settings) const {
  return !difference_from(settings);
}

void ContextDirectory::require(const ContextSettings& settings) const {
  if (const auto difference = difference_from(settings)) {
    base::input_error("{}: was saved with {} {}, this run has {}",
                      base::utf8_name(directory_.string()), difference->name, difference->saved,
                      difference->wanted);
  }
}

std::vector<base::TokenId> ContextDirectory::tokens() const {
  std::vector<base::TokenId> tokens;
  if (states_.empty()) return tokens;
  const std::filesystem::path path = tokens_path(directory_);
  const File file(path, File::Mode::kRead);
  if (file.size_bytes() / sizeof(base::TokenId) < n_tokens()) {
    base::input_error("{}: damaged: expected {} tokens or more, found {}",
                      base::utf8_name(path.string()), n_tokens(),
                      file.size_bytes() / sizeof(base::TokenId));
  }
  tokens.resize(n_tokens());
  file.read_at(0, std::as_writable_bytes(std::span(tokens)));
  if (checksum_of(tokens) != states_.back().tokens_crc32) {
    base::input_error("{}: damaged: the tokens do not match their checksum",
                      base::utf8_name(path.string()));
  }
  return tokens;
}

void ContextDirectory::add_state(std::span<const base::TokenId> tokens) {
  LR_CHECK(lock_ && tokens.size() > n_tokens());
  const File file(tokens_path(directory_), File::Mode::kWrite);
  file.write_at(n_tokens() * sizeof(base::TokenId), std::as_bytes(tokens.subspan(n_tokens())));
  file.sync();
  states_.push_back({tokens.size(), checksum_of(tokens)});
  write_manifest();
}

}  // namespace longreach::dist
