#include "dist/context/context_directory.hpp"

#include "kernels/base/descriptor.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "model/checkpoint/tensor_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <system_error>

namespace longreach::dist {
namespace {

constexpr std::uint64_t kVersion = 4;
/// A chain of contexts that is longer goes round in a circle.
constexpr std::size_t kMostParents = 1000;
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

SavedState state_in(const nlohmann::json& json, const std::filesystem::path& path) {
  const std::uint64_t n_tokens = number_in(json, "n_tokens", path);
  const std::uint64_t crc32 = number_in(json, "tokens_crc32", path);
  if (n_tokens == 0 || n_tokens > std::uint64_t{1} << 40 || crc32 > UINT32_MAX) {
    refuse_manifest(path, "expected states after 1 token or more");
  }
  return {n_tokens, static_cast<std::uint32_t>(crc32)};
}

nlohmann::ordered_json json_of(const SavedState& state) {
  return {{"n_tokens", state.n_tokens}, {"tokens_crc32", state.tokens_crc32}};
}

/// Of all of a manifest but its checksum.
std::uint32_t manifest_checksum(nlohmann::json manifest) {
  manifest.erase("crc32");
  const std::string text = manifest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return model::crc32_of(std::as_bytes(std::span(text)));
}

/// Settings that are absent where they have a plain value.
using PlainSetting = std::pair<std::string_view, std::string_view>;
constexpr PlainSetting kPlainSettings[] = {{kInitialStateSetting, "none"},
                                           {kActivationsSetting, "f32"},
                                           {kAttentionActivationsSetting, "f32"}};

/// Settings that a run need not ask about.
constexpr std::string_view kOptionalSettings[] = {kIsaSetting, kVocabularySetting};

/// That of a new context: no other one has it.
std::string new_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
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

ContextDirectory::ContextDirectory(std::filesystem::path directory)
    : directory_(std::move(directory)), folders_{{directory_, 0}} {}

ContextDirectory::~ContextDirectory() {
  if (!lock_ || has_own_state()) return;
  // Where other ranks have written something, it stays, and so does the rest.
  std::error_code error;
  for (const std::filesystem::path& path : made_) {
    if (!std::filesystem::remove(path, error)) return;
  }
}

ContextDirectory ContextDirectory::open(const std::filesystem::path& directory) {
  return open(directory, 0);
}

ContextDirectory ContextDirectory::open(const std::filesystem::path& directory,
                                        std::size_t n_children) {
  ContextDirectory context(directory);
  context.read_manifest(n_children);
  return context;
}

ContextDirectory ContextDirectory::open_to_write(const std::filesystem::path& directory,
                                                 const ContextSettings& settings,
                                                 const std::optional<ContextParent>& parent) {
  ContextDirectory context(directory);
  std::error_code ignored;
  const bool is_there = std::filesystem::exists(directory, ignored);
  // What is no context is left alone.
  if (is_there && !exists(directory) && !std::filesystem::exists(directory / "lock", ignored) &&
      (!std::filesystem::is_directory(directory, ignored) ||
       !std::filesystem::is_empty(directory, ignored))) {
    base::input_error("{}: expected a context, an empty folder or a new name",
                      base::utf8_name(directory.string()));
  }
  for (const char* const part : {"cache", "states"}) make_folder(directory / part);
  context.lock_ = std::make_unique<File>(directory / "lock", File::Mode::kWrite);
  if (!context.lock_->lock()) {
    base::input_error("{}: another run writes this context", base::utf8_name(directory.string()));
  }
  if (exists(directory)) {
    context.read_manifest(0);
    context.require(settings);
    return context;
  }
  context.made_ = {directory / "cache", directory / "states", manifest_path(directory),
                   directory / "lock"};
  if (!is_there) context.made_.push_back(directory);
  context.settings_ = settings;
  context.folders_.back().id = new_id();
  if (parent) {
    // Relative, so that both can be moved together.
    const auto path = std::filesystem::proximate(parent->directory, directory, ignored);
    if (path.string() != base::utf8_name(path.string())) {
      base::input_error("{}: expected a name in UTF-8", base::utf8_name(path.string()));
    }
    nlohmann::json json = json_of(parent->state);
    json["path"] = path.string();
    context.read_parent(json, 0);
  }
  context.write_manifest();
  return context;
}

bool ContextDirectory::is_being_written(const std::filesystem::path& directory) {
  std::error_code ignored;
  const std::filesystem::path lock = directory / "lock";
  return std::filesystem::exists(lock, ignored) && !File(lock, File::Mode::kWrite).lock();
}

void ContextDirectory::read_manifest(std::size_t n_children) {
  const std::filesystem::path path = manifest_path(directory_);
  const nlohmann::json json = base::parse_json(base::read_regular_file(path, kLargestManifest),
                                               base::utf8_name(path.string()));
  const std::uint64_t version = number_in(json, "version", path);
  if (version != kVersion) {
    base::input_error("{}: expected version {} of the format, found {}",
                      base::utf8_name(path.string()), kVersion, version);
  }
  if (number_in(json, "crc32", path) != manifest_checksum(json)) {
    refuse_manifest(path, "it does not match its checksum");
  }
  if (!json.contains("id") || !json["id"].is_string()) refuse_manifest(path, "expected an id");
  folders_.back().id = json["id"].get<std::string>();
  for (const auto& [name, value] : part_of(json, "settings", false, path).items()) {
    if (!value.is_string()) refuse_manifest(path, "expected settings that are texts");
    settings_.emplace_back(name, value.get<std::string>());
  }
  if (json.contains("parent")) read_parent(part_of(json, "parent", false, path), n_children);
  for (const nlohmann::json& each : part_of(json, "states", true, path)) {
    const SavedState state = state_in(each, path);
    if (state.n_tokens <= n_tokens()) refuse_manifest(path, "expected states in ascending order");
    states_.push_back(state);
  }
}

void ContextDirectory::read_parent(const nlohmann::json& json, std::size_t n_children) {
  const std::filesystem::path path = manifest_path(directory_);
  const SavedState state = state_in(json, path);
  if (!json.contains("path") || !json["path"].is_string()) {
    refuse_manifest(path, "expected the path of a parent");
  }
  const auto directory = (directory_ / json["path"].get<std::string>()).lexically_normal();
  const std::string name = base::utf8_name(directory_.string()),
                    of_parent = base::utf8_name(directory.string());
  if (n_children == kMostParents) base::input_error("{}: goes on after itself", name);
  if (!exists(directory)) {
    base::input_error(
        "{}: goes on after the first {} tokens of {}, where no context is (context pack makes one "
        "that needs no other)",
        name, state.n_tokens, of_parent);
  }
  const ContextDirectory parent = open(directory, n_children + 1);
  parent.require(settings_);
  const auto end = std::ranges::find(parent.states_, state.n_tokens, &SavedState::n_tokens);
  if (end == parent.states_.end() || end->tokens_crc32 != state.tokens_crc32) {
    base::input_error("{}: goes on after the first {} tokens of {}, which {} now", name,
                      state.n_tokens, of_parent,
                      end == parent.states_.end() ? "has no state there" : "holds others");
  }
  parent_ = ContextParent{directory, state};
  states_.assign(parent.states_.begin(), std::next(end));
  const std::string id = folders_.back().id;
  folders_ = folders_of(parent.folders_, state.n_tokens);
  folders_.push_back({directory_, state.n_tokens, id});
}

void ContextDirectory::write_manifest() const {
  nlohmann::ordered_json json;
  json["version"] = kVersion;
  json["id"] = folders_.back().id;
  json["settings"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : settings_) json["settings"][name] = value;
  if (parent_) {
    json["parent"] = json_of(parent_->state);
    json["parent"]["path"] = std::filesystem::proximate(parent_->directory, directory_).string();
  }
  json["states"] = nlohmann::ordered_json::array();
  for (const SavedState& state : states_) {
    if (state.n_tokens > folders_.back().n_before) json["states"].push_back(json_of(state));
  }
  json["crc32"] = manifest_checksum(json);
  base::write_file(manifest_path(directory_), json.dump(1) + "\n");
  sync_folder(directory_ / "cache");
  sync_folder(directory_ / "states");
  sync_folder(directory_);
}

std::optional<std::string> ContextDirectory::difference_from(
    const ContextSettings& settings) const {
  const auto value_in = [](const ContextSettings& of, std::string_view name) {
    const auto found = std::ranges::find(of, name, &ContextSettings::value_type::first);
    if (found != of.end()) return std::optional(found->second);
    const auto plain = std::ranges::find(kPlainSettings, name, &PlainSetting::first);
    if (plain == std::end(kPlainSettings)) return std::optional<std::string>();
    return std::optional(std::string(plain->second));
  };
  for (const ContextSettings& names : {settings, settings_}) {
    for (const auto& [name, value] : names) {
      const auto saved = value_in(settings_, name), wanted = value_in(settings, name);
      const bool may_be_ignored = std::ranges::count(kOptionalSettings, name) > 0;
      if (saved == wanted || (!wanted && may_be_ignored)) continue;
      return fmt::format("was saved with {} {}, this run has {}", name, saved.value_or("(none)"),
                         wanted.value_or("(none)"));
    }
  }
  return std::nullopt;
}

void ContextDirectory::require(const ContextSettings& settings) const {
  if (const auto difference = difference_from(settings)) {
    base::input_error("{}: {}", base::utf8_name(directory_.string()), *difference);
  }
}

std::vector<base::TokenId> ContextDirectory::tokens() const {
  std::size_t end = n_tokens();
  std::vector<base::TokenId> tokens;
  for (auto folder = folders_.rbegin(); folder != folders_.rend(); end = (folder++)->n_before) {
    if (folder->n_before >= end) continue;
    const std::filesystem::path path = tokens_path(folder->path);
    const File file(path, File::Mode::kRead);
    const std::size_t n_there = file.size_bytes() / sizeof(base::TokenId);
    if (n_there < end) {
      base::input_error("{}: damaged: expected {} tokens or more, found {}",
                        base::utf8_name(path.string()), end, n_there);
    }
    tokens.resize(n_tokens());  // now that a file has so many
    const std::size_t n_before = folder->n_before;
    file.read_at(n_before * sizeof(base::TokenId),
                 std::as_writable_bytes(std::span(tokens).subspan(n_before, end - n_before)));
  }
  if (!states_.empty() && checksum_of(tokens) != states_.back().tokens_crc32) {
    base::input_error("{}: damaged: the tokens do not match their checksum",
                      base::utf8_name(tokens_path(directory_).string()));
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

void ContextDirectory::forget_parent() {
  LR_CHECK(lock_ && parent_);
  const std::size_t n_before = folders_.back().n_before;
  const std::vector<base::TokenId> all = tokens();
  const File file(tokens_path(directory_), File::Mode::kWrite);
  file.write_at(0, std::as_bytes(std::span(all).first(n_before)));
  file.sync();
  parent_.reset();
  folders_ = {{directory_, 0, folders_.back().id}};
  write_manifest();
}

}  // namespace longreach::dist
