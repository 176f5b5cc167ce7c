#include "launch/context_library.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/sha256.hpp"
#include "launch/saved_context.hpp"
#include "serve/openai_request.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <ctime>
#include <span>
#include <system_error>
#include <utility>
#include <variant>

namespace longreach::launch {
namespace {

using base::TokenId;
using serve::ApiError;
using serve::ContextInfo;
using serve::ContextStatus;

constexpr std::size_t kMostWaiting = 64;
constexpr std::size_t kLargestAbout = std::size_t{1} << 16;
constexpr std::string_view kTextSuffix = ".text";

/// What clients may write into a path as it is.
bool is_plain_name(std::string_view name) {
  return std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

[[noreturn]] void refuse_id() {
  throw ApiError(404, "the context does not exist", {}, "context_not_found");
}

/// A disk that does not take something is the server's fault, not the client's.
template <typename Write>
void write_for_client(Write&& write) {
  try {
    write();
  } catch (const base::InputError& error) {
    throw ApiError(500, error.what());
  }
}

}  // namespace

ContextLibrary::ContextLibrary(Options options, const std::vector<dist::ContextFolders>& contexts,
                               dist::Engine& engine, generation::Generator& generator,
                               generation::SavedTexts& texts)
    : options_(std::move(options)), engine_(engine), generator_(generator), texts_(texts) {
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    const std::filesystem::path& path = contexts[i].back().path;
    const std::string id = path.filename().string();
    if (!is_plain_name(id)) continue;  // prompts may begin with it all the same
    const std::size_t n = dist::ContextDirectory::open(path).n_tokens();
    ContextInfo info{
        .id = id, .n_tokens = n, .n_read = n, .n_saved = n, .status = ContextStatus::kReady};
    entries_.emplace(id, Entry{std::move(info), i});
  }
  find_unread();
  for (auto& [id, entry] : entries_) {
    std::error_code ignored;
    if (!std::filesystem::exists(about_path(id), ignored)) continue;
    const std::string name = base::utf8_name(about_path(id).string());
    const auto about = base::parse_json(base::read_file(about_path(id), kLargestAbout), name);
    entry.info.name = about.value("name", "");
    entry.info.created = about.value("created", std::int64_t{0});
  }
}

std::filesystem::path ContextLibrary::about_path(const std::string& id) const {
  return options_.folder / (id + ".json");
}

std::filesystem::path ContextLibrary::text_path(const std::string& id) const {
  return options_.folder / fmt::format("{}{}", id, kTextSuffix);
}

std::string ContextLibrary::id_of(std::span<const TokenId> tokens) const {
  base::Sha256 hash;
  for (const auto& [name, value] : options_.settings) {
    const std::string setting = fmt::format("{} {}\n", name, value);
    hash.update(std::as_bytes(std::span(setting)));
  }
  hash.update(std::as_bytes(tokens));
  return "ctx-" + hash.hex_digest().substr(0, 24);
}

void ContextLibrary::find_unread() {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(options_.folder, error)) {
    const std::string name = file.path().filename().string();
    if (!name.ends_with(kTextSuffix) || !is_plain_name(name)) continue;
    found.push_back(name.substr(0, name.size() - kTextSuffix.size()));
  }
  std::ranges::sort(found);
  for (const std::string& id : found) {
    const auto tokens = read_text(id);
    if (!tokens || id_of(*tokens) != id) continue;  // of other settings
    ContextInfo& info = entries_[id].info;
    info.id = id;
    info.n_tokens = tokens->size();
    info.status = ContextStatus::kWaiting;
    waiting_.push_back(id);
  }
}

void ContextLibrary::write_about(const ContextInfo& info) const {
  const nlohmann::ordered_json about = {{"name", info.name}, {"created", info.created}};
  base::write_file(about_path(info.id), about.dump() + "\n");
}

void ContextLibrary::write_text(const std::string& id, std::span<const TokenId> tokens) const {
  const auto bytes = std::as_bytes(tokens);
  base::write_file(text_path(id), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::optional<std::vector<TokenId>> ContextLibrary::read_text(const std::string& id) const {
  std::error_code ignored;
  if (!std::filesystem::exists(text_path(id), ignored)) return std::nullopt;
  const std::string bytes = base::read_file(text_path(id));
  std::vector<TokenId> tokens(bytes.size() / sizeof(TokenId));
  std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(TokenId));
  return tokens;
}

std::vector<ContextInfo> ContextLibrary::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<ContextInfo> infos;
  for (const auto& [id, entry] : entries_) infos.push_back(entry.info);
  std::ranges::stable_sort(infos, {}, &ContextInfo::created);
  return infos;
}

ContextInfo ContextLibrary::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) refuse_id();
  return found->second.info;
}

std::vector<TokenId> ContextLibrary::tokens(const std::string& id) const {
  const ContextInfo info = find(id);
  if (info.status == ContextStatus::kFailed) {
    throw ApiError(409, fmt::format("the context could not be read: {}", info.error), "longreach");
  }
  if (info.status != ContextStatus::kReady) {
    throw ApiError(
        409,
        fmt::format("the context is still being read: {} of {} tokens", info.n_read, info.n_tokens),
        "longreach", "context_not_ready");
  }
  try {
    return dist::ContextDirectory::open(folder_of(id)).tokens();
  } catch (const base::InputError& error) {
    throw ApiError(500, error.what());
  }
}

ContextInfo ContextLibrary::add(std::vector<TokenId> tokens, const std::string& name) {
  const std::string id = id_of(tokens);
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.info.status != ContextStatus::kFailed) {
    return name.empty() ? find(id) : rename(id, name);
  }
  if (waiting_.size() >= kMostWaiting) {
    throw ApiError(429, "too many texts are waiting to be read", {}, "rate_limit_exceeded");
  }
  ContextInfo info = found != entries_.end() ? found->second.info : ContextInfo{.id = id};
  info.name = name;
  info.created = std::time(nullptr);
  info.n_tokens = tokens.size();
  info.n_read = info.n_saved;
  info.status = ContextStatus::kWaiting;
  info.error.clear();
  write_for_client([&] {
    write_about(info);
    write_text(id, tokens);
  });
  waiting_.push_back(id);
  {
    const std::lock_guard lock(mutex_);
    entries_[id].info = info;
  }
  work();
  return find(id);
}

ContextInfo ContextLibrary::rename(const std::string& id, const std::string& name) {
  ContextInfo info = find(id);
  info.name = name;
  write_for_client([&] { write_about(info); });
  const std::lock_guard lock(mutex_);
  return (entries_.at(id).info = info);
}

void ContextLibrary::remove(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) refuse_id();
  Entry& entry = found->second;
  for (const auto& [other, each] : entries_) {
    if (other == id || !each.context) continue;
    const auto folders = dist::ContextDirectory::open(folder_of(other)).folders();
    const auto is_this = [&](const dist::ContextFolder& folder) {
      std::error_code ignored;
      return std::filesystem::equivalent(folder.path, folder_of(id), ignored);
    };
    if (std::ranges::any_of(folders, is_this)) {
      throw ApiError(409, fmt::format("the context {} goes on after it", other));
    }
  }
  std::error_code ignored;
  std::filesystem::remove(text_path(id), ignored);
  std::filesystem::remove(about_path(id), ignored);
  std::erase(waiting_, id);
  const bool is_being_read = reading_ && reading_->id == id;
  if (is_being_read) generator_.cancel(reading_->request);  // work() takes the rest away
  drop(entry);
  if (!is_being_read) std::filesystem::remove_all(folder_of(id), ignored);
  const std::lock_guard lock(mutex_);
  entries_.erase(found);
}

void ContextLibrary::drop(Entry& entry) {
  if (!entry.context) return;
  texts_.remove(*entry.context);
  engine_.drop_context(*entry.context);
  entry.context.reset();
}

void ContextLibrary::work() {
  if (reading_ && reading_->has_ended) {
    const std::string id = reading_->id;
    engine_.drop_context(reading_->context);
    reading_.reset();
    if (!entries_.contains(id)) {
      std::error_code ignored;
      std::filesystem::remove_all(folder_of(id), ignored);
    }
  }
  if (reading_ || waiting_.empty() || is_stopping_ || generator_.queue_is_full()) return;
  const std::string id = std::move(waiting_.front());
  waiting_.pop_front();
  try {
    begin(id);
  } catch (const base::InputError& error) {
    reading_.reset();
    const std::lock_guard lock(mutex_);
    entries_.at(id).info.status = ContextStatus::kFailed;
    entries_.at(id).info.error = error.what();
  }
}

void ContextLibrary::begin(const std::string& id) {
  auto tokens = read_text(id);
  if (!tokens) base::input_error("{}: is gone", base::utf8_name(text_path(id).string()));
  auto directory = std::make_shared<dist::ContextDirectory>(
      dist::ContextDirectory::open_to_write(folder_of(id), options_.settings));
  require_beginning(*directory, *tokens);
  Entry& entry = entries_.at(id);
  const std::size_t n_begin = directory->n_tokens();
  // One number to save to, and one to restore from: that does not disturb what is being saved.
  drop(entry);
  entry.context = engine_.add_context(directory->folders());
  texts_.add(*entry.context, directory);
  Reading& reading = reading_.emplace(
      Reading{.id = id, .tokens = *std::move(tokens), .directory = directory, .n_begin = n_begin});
  if (n_begin == reading.tokens.size()) {
    reading.context = engine_.add_context(directory->folders());
    return take(generation::Finished{});
  }
  reading.context = engine_.add_context(directory->folders());
  generation::Request request;
  request.prompt.assign(reading.tokens.begin() + static_cast<std::ptrdiff_t>(n_begin),
                        reading.tokens.end());
  request.saving = generation::Saving{options_.states_every, reading.context};
  auto session = n_begin > 0 ? engine_.restore(n_begin, reading.context) : engine_.new_session();
  {
    const std::lock_guard lock(mutex_);
    entry.info.n_read = entry.info.n_saved = n_begin;
    entry.info.status = ContextStatus::kReading;
  }
  reading.request = generator_.submit(
      std::move(request), [this](const generation::Event& event) { take(event); },
      std::move(session));
}

void ContextLibrary::take(const generation::Event& event) {
  Reading& reading = *reading_;
  const auto found = entries_.find(reading.id);
  const auto* const end = std::get_if<generation::Finished>(&event);
  if (end != nullptr) reading.has_ended = true;
  if (found == entries_.end()) return;  // removed
  ContextInfo& info = found->second.info;
  if (const auto* const saved = std::get_if<generation::Saved>(&event)) {
    try {
      reading.directory->add_state(std::span(reading.tokens).first(saved->n_tokens));
    } catch (const base::InputError& error) {
      generator_.cancel(reading.request);
      return fail(error.what());
    }
    const std::lock_guard lock(mutex_);
    info.n_saved = saved->n_tokens;
    return;
  }
  if (end == nullptr) {
    const auto& progress = std::get<generation::PromptProgress>(event);
    const auto n_done = static_cast<double>(progress.n_read);
    const std::lock_guard lock(mutex_);
    info.n_read = reading.n_begin + progress.n_read;
    info.seconds_left = base::seconds_since(reading.start) / n_done *
                        static_cast<double>(info.n_tokens - info.n_read);
    return;
  }
  if (info.status == ContextStatus::kFailed) return;
  if (end->reason == generation::FinishReason::kFailed) return fail(end->error);
  const std::lock_guard lock(mutex_);
  info.seconds_left.reset();
  if (reading.directory->n_tokens() < reading.tokens.size()) {  // stopped
    info.status = ContextStatus::kWaiting;
    return;
  }
  info.n_read = info.n_saved = info.n_tokens;
  info.status = ContextStatus::kReady;
  std::error_code ignored;
  std::filesystem::remove(text_path(reading.id), ignored);
}

void ContextLibrary::fail(const std::string& error) {
  const std::lock_guard lock(mutex_);
  ContextInfo& info = entries_.at(reading_->id).info;
  info.status = ContextStatus::kFailed;
  info.error = error;
  info.seconds_left.reset();
}

void ContextLibrary::stop() {
  if (!std::exchange(is_stopping_, true) && reading_) generator_.cancel(reading_->request);
}

}  // namespace longreach::launch
