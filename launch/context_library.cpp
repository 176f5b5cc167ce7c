#include "launch/context_library.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/seconds.hpp"
#include "kernels/base/sha256.hpp"
#include "serve/openai_request.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <unistd.h>

#include <algorithm>
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
/// Prompts that wait to be kept; what is older may have left the memory.
constexpr std::size_t kMostToKeep = 16;
/// So many tokens at least must a prompt have beyond what is saved, to be kept.
constexpr std::size_t kLeastKept = 2 * generation::kKeptEvery;
/// Of the ids that the server makes.
constexpr std::string_view kIdPrefix = "ctx-";

[[noreturn]] void refuse_id() {
  throw ApiError(404, "the context does not exist", {}, "context_not_found");
}

/// A disk that does not take something is the server's fault, not the client's.
template <typename Write>
void write_for_client(Write&& write) {
  try {
    write();
  } catch (const ApiError&) {
    throw;
  } catch (const base::InputError& error) {
    throw ApiError(500, error.what());
  }
}

/// What so many tokens more take on the disk, about.
std::size_t bytes_to_save(std::size_t n_tokens, const ContextBytes& bytes) {
  const std::size_t n_chunks = n_tokens / bytes.chunk_size + 1,
                    n_states = n_tokens / generation::kKeptEvery + 1;
  return n_chunks * bytes.of_chunk + n_states * bytes.of_state;
}

void refuse_damaged(const dist::ContextFolders& folders) {
  if (!dist::is_marked_damaged(folders)) return;
  base::input_error("{}: was found damaged; it is to be deleted, and the text sent again",
                    base::utf8_name(folders.back().path.string()));
}

std::int64_t milliseconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

}  // namespace

std::size_t least_kept_bytes(const ContextBytes& bytes) { return bytes_to_save(kLeastKept, bytes); }

ContextLibrary::ContextLibrary(Options options, const std::vector<dist::ContextFolders>& contexts,
                               dist::Engine& engine, generation::Generator& generator,
                               generation::SavedTexts& texts)
    : options_(std::move(options)),
      files_(options_.folder),
      is_writable_(::access(options_.folder.c_str(), W_OK) == 0),
      engine_(engine),
      generator_(generator),
      texts_(texts) {
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    if (is_plain_name(contexts[i].back().path.filename().string())) add_found(i, contexts[i]);
  }
  find_unread();
  find_abouts();
  if (is_writable_) {
    drop_unfinished();
    std::error_code unknown;
    const std::filesystem::space_info space = std::filesystem::space(options_.folder, unknown);
    // Of both, or each start would leave contexts less room.
    const std::size_t half = unknown ? 0 : (space.available + disk_bytes_taken()) / 2;
    disk_bytes_ = options_.disk_bytes.value_or(half);
    make_room(0, {});
  } else {
    spdlog::warn("--contexts {}: cannot be written: its contexts are used, and none is added",
                 base::utf8_name(options_.folder.string()));
  }
  texts_.on_damage([this](std::size_t context, const base::InputError& error) {
    for (auto& [id, entry] : entries_) {
      if (entry.context != context) continue;
      fail(id, error.what());
      engine_.drop_context(context);
      entry.context.reset();
    }
  });
  texts_.on_read([this](std::span<const TokenId> tokens) { was_read(tokens); });
}

void ContextLibrary::add_found(std::size_t context, const dist::ContextFolders& folders) {
  const std::filesystem::path& path = folders.back().path;
  const std::string id = path.filename().string();
  Entry entry{.info = {.id = id, .n_bytes = files_.disk_bytes(id)}};
  try {
    const auto tokens = dist::ContextDirectory::open(path).tokens();
    refuse_damaged(folders);
    entry.context = context;
    entry.info.n_tokens = entry.info.n_read = entry.info.n_saved = tokens.size();
    entry.info.status = ContextStatus::kReady;
    if (id.starts_with(kIdPrefix) && id != id_of(tokens)) {
      entry.info.status = ContextStatus::kFailed;
      entry.info.error = "it was not read to its end, and its text is gone: send the text again";
    }
  } catch (const base::InputError& error) {
    texts_.remove(context);
    engine_.drop_context(context);
    entry.info.status = ContextStatus::kFailed;
    entry.info.error = error.what();
  }
  const std::lock_guard lock(mutex_);
  entries_[id] = std::move(entry);
}

void ContextLibrary::look_again() {
  constexpr std::chrono::seconds kPause(1);  // between looks at what others write
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(options_.folder, error);
  if (error || (changed == changed_ && (!others_write_ || Clock::now() < looked_ + kPause))) return;
  changed_ = changed;
  looked_ = Clock::now();
  others_write_ = false;
  std::vector<std::string> gone;
  for (const auto& [id, entry] : entries_) {
    const bool is_there = dist::ContextDirectory::exists(files_.folder_of(id));
    if (entry.info.status == ContextStatus::kReady && !is_there) gone.push_back(id);
  }
  for (const std::string& id : gone) forget(id);
  for (const auto& file : std::filesystem::directory_iterator(options_.folder, error)) {
    const std::string id = file.path().filename().string();
    if (!is_plain_name(id) || entries_.contains(id) || left_aside_.contains(id)) continue;
    try {
      if (!dist::ContextDirectory::exists(file.path())) continue;
      if (is_writable_ && dist::ContextDirectory::is_being_written(file.path())) {
        others_write_ = true;
        continue;
      }
      const auto context = dist::ContextDirectory::open(file.path());
      if (context.n_tokens() == 0 || context.difference_from(options_.settings)) {
        left_aside_.insert(id);
        continue;
      }
      const std::size_t number = engine_.add_context(context.folders());
      texts_.add(number, std::make_shared<const dist::ContextDirectory>(
                             dist::ContextDirectory::open(file.path())));
      add_found(number, context.folders());
      take_about(id);
    } catch (const base::InputError& failure) {
      left_aside_.insert(id);
      spdlog::warn("{}", failure.what());
    }
  }
}

std::string ContextLibrary::id_of(std::span<const TokenId> tokens) const {
  base::Sha256 hash;
  for (const auto& [name, value] : options_.settings) {
    const std::string setting = fmt::format("{} {}\n", name, value);
    hash.update(std::as_bytes(std::span(setting)));
  }
  hash.update(std::as_bytes(tokens));
  return fmt::format("{}{}", kIdPrefix, hash.hex_digest().substr(0, 24));
}

void ContextLibrary::find_unread() {
  for (const std::string& id : files_.ids_with_text()) {
    if (!id.starts_with(kIdPrefix)) continue;
    const auto tokens = files_.read_text(id);
    if (!tokens || id_of(*tokens) != id) continue;  // of other settings, or cut short
    ContextInfo& info = entries_[id].info;
    if (info.status == ContextStatus::kReady) {
      files_.remove_text(id);
      continue;
    }
    info.id = id;
    info.n_tokens = tokens->size();
    if (!is_writable_) {
      info.status = ContextStatus::kFailed;
      info.error = "it was not read to its end, and this server may not write its folder";
      continue;
    }
    info.status = ContextStatus::kWaiting;
    info.error.clear();
    waiting_.push_back(id);
  }
}

void ContextLibrary::find_abouts() {
  for (const std::string& id : files_.ids_with_about()) {
    const bool is_ours = id.starts_with(kIdPrefix) || entries_.contains(id);
    if (is_ours) take_about(id);
  }
}

void ContextLibrary::drop_unfinished() {
  const auto may_go = [this](const auto& each) {
    const ContextInfo& info = each.second.info;
    return !info.is_pinned && info.status == ContextStatus::kFailed && !child_of(each.first);
  };
  // Parents after their children.
  for (auto found = std::ranges::find_if(entries_, may_go); found != entries_.end();
       found = std::ranges::find_if(entries_, may_go)) {
    const std::string id = found->first;
    forget(id);
    files_.remove(id);
  }
}

void ContextLibrary::take_about(const std::string& id) {
  const AboutContext about = files_.read_about(id);
  const auto found = entries_.find(id);
  if (about.is_deleted) {
    if (found != entries_.end()) forget(id);
    files_.remove(id);
    return;
  }
  if (found == entries_.end()) {
    // Of a prompt that was being kept when its server was killed, before anything was saved.
    if (about.is_pinned == false && files_.is_empty(id)) files_.remove(id);
    return;
  }
  const std::lock_guard lock(mutex_);
  ContextInfo& info = found->second.info;
  info.name = about.name.value_or(info.name);
  info.created = about.created.value_or(info.created);
  info.is_pinned = about.is_pinned.value_or(info.is_pinned);
  found->second.used = about.used.value_or(found->second.used);
}

void ContextLibrary::write_about(const ContextInfo& info) const {
  const auto found = entries_.find(info.id);
  files_.write_about(info.id, {.name = info.name,
                               .created = info.created,
                               .is_pinned = info.is_pinned,
                               .used = found == entries_.end() ? 0 : found->second.used});
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

serve::ContextUsage ContextLibrary::usage() const {
  const std::lock_guard lock(mutex_);
  return {disk_bytes_taken(), disk_bytes_, n_evicted_};
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
    return dist::ContextDirectory::open(files_.folder_of(id)).tokens();
  } catch (const base::InputError& error) {
    throw ApiError(500, error.what());
  }
}

void ContextLibrary::require_writable() const {
  if (is_writable_) return;
  throw ApiError(403, "this server may not write its folder of contexts", {}, "contexts_read_only");
}

ContextInfo ContextLibrary::add(std::vector<TokenId> tokens, const std::string& name) {
  require_writable();
  const std::string id = id_of(tokens);
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.info.status != ContextStatus::kFailed) {
    // Of a prompt that is being kept: a server that is killed meanwhile reads on.
    const ContextInfo& there = found->second.info;
    if (there.status == ContextStatus::kReading && !there.is_pinned) {
      write_for_client([&] { files_.write_text(id, tokens); });
    }
    serve::ContextChange wanted{.is_pinned = true};
    if (!name.empty()) wanted.name = name;
    return change(id, wanted);
  }
  if (waiting_.size() >= kMostWaiting) {
    throw ApiError(429, "too many texts are waiting to be read", {}, "rate_limit_exceeded");
  }
  ContextInfo info = found != entries_.end() ? found->second.info : ContextInfo{.id = id};
  if (dist::is_marked_damaged({{files_.folder_of(id)}}) && !child_of(id)) {
    files_.remove(id);
    info.n_saved = 0;
  }
  info.name = name;
  info.created = std::time(nullptr);
  info.n_tokens = tokens.size();
  info.n_read = info.n_saved;
  info.is_pinned = true;
  info.status = ContextStatus::kWaiting;
  info.error.clear();
  write_for_client([&] {
    write_about(info);
    files_.write_text(id, tokens);
  });
  waiting_.push_back(id);
  {
    const std::lock_guard lock(mutex_);
    entries_[id].info = info;
  }
  work();
  return find(id);
}

ContextInfo ContextLibrary::change(const std::string& id, const serve::ContextChange& wanted) {
  ContextInfo info = find(id);
  require_writable();
  if (wanted.name) info.name = *wanted.name;
  if (wanted.is_pinned) info.is_pinned = *wanted.is_pinned;
  write_for_client([&] { write_about(info); });
  const std::lock_guard lock(mutex_);
  return (entries_.at(id).info = info);
}

void ContextLibrary::remove(const std::string& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) refuse_id();
  require_writable();
  const bool is_being_read = reading_ && reading_->id == id;
  if (const auto child = child_of(id)) {
    throw ApiError(
        409,
        fmt::format("the context cannot be deleted before {}, which goes on after it", *child));
  }
  write_for_client([&] {
    if (!is_being_read && dist::ContextDirectory::is_being_written(files_.folder_of(id))) {
      throw ApiError(409, "another run writes this context");
    }
  });
  const std::string failure = files_.mark_deleted(id);
  if (is_being_read && !failure.empty()) throw ApiError(500, failure);
  forget(id);
  generator_.forget_prefixes();  // some have its files mapped
  if (is_being_read) {
    generator_.cancel(reading_->request);  // work() takes the rest away
  } else if (!files_.remove(id)) {
    throw ApiError(500, failure.empty() ? "the context cannot be deleted" : failure);
  }
}

std::optional<std::string> ContextLibrary::child_of(const std::string& id) const {
  for (const auto& [other, each] : entries_) {
    if (other != id && files_.goes_on_after(other, id)) return other;
  }
  return std::nullopt;
}

void ContextLibrary::forget(const std::string& id) {
  std::erase(waiting_, id);
  drop(entries_.at(id));
  const std::lock_guard lock(mutex_);
  entries_.erase(id);
}

std::size_t ContextLibrary::disk_bytes_taken() const {
  std::size_t n_bytes = 0;
  for (const auto& [id, entry] : entries_) n_bytes += entry.info.n_bytes;
  return n_bytes;
}

bool ContextLibrary::make_room(std::size_t n_bytes, const std::string& needed) {
  std::size_t taken = n_bytes + disk_bytes_taken();
  while (taken > disk_bytes_) {
    const Entry* oldest = nullptr;
    for (const auto& [id, entry] : entries_) {
      const bool may_go = !entry.info.is_pinned && id != needed &&
                          (oldest == nullptr || entry.used < oldest->used) && !child_of(id) &&
                          !dist::ContextDirectory::is_being_written(files_.folder_of(id));
      if (may_go) oldest = &entry;
    }
    if (oldest == nullptr) return false;
    const std::string id = oldest->info.id;
    taken -= std::min(taken, oldest->info.n_bytes);
    files_.mark_deleted(id);
    forget(id);
    {
      const std::lock_guard lock(mutex_);
      ++n_evicted_;
    }
    // Prefixes in memory that have its files mapped stay usable, and hold their place till they go.
    files_.remove(id);
  }
  return true;
}

void ContextLibrary::drop(Entry& entry) {
  if (!entry.context) return;
  texts_.remove(*entry.context);
  engine_.drop_context(*entry.context);
  entry.context.reset();
}

void ContextLibrary::work() {
  if (reading_ && reading_->has_ended) end_reading();
  look_again();
  if (reading_ || generator_.queue_is_full()) return;
  if (!waiting_.empty() && !is_stopping_) {
    const std::string id = std::move(waiting_.front());
    waiting_.pop_front();
    try {
      begin(id);
    } catch (const base::InputError& error) {
      fail(id, error.what());
      if (reading_) end_reading();
    }
  } else if (!to_keep_.empty()) {
    std::vector<TokenId> tokens = std::move(to_keep_.back());
    to_keep_.pop_back();
    try {
      begin_keeping(std::move(tokens));
    } catch (const base::InputError& error) {
      spdlog::warn("a prompt is not kept: {}", error.what());
    }
  }
}

void ContextLibrary::end_reading() {
  const Reading reading = *std::exchange(reading_, {});
  if (reading.context) engine_.drop_context(*reading.context);
  const auto found = entries_.find(reading.id);
  if (found == entries_.end()) {
    files_.remove(reading.id);
    return;
  }
  Entry& entry = found->second;
  if (!entry.info.is_pinned && entry.info.status != ContextStatus::kReady) {
    if (!entry.info.error.empty()) spdlog::warn("a prompt is not kept: {}", entry.info.error);
    forget(reading.id);
    files_.remove(reading.id);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    entry.info.n_bytes = files_.disk_bytes(reading.id);
  }
  // Read from now on, and not written: others may, and no file stays open for it.
  const auto context = entry.context;
  if (!context || reading.directory->n_tokens() == 0) return drop(found->second);
  try {
    texts_.add(*context, std::make_shared<const dist::ContextDirectory>(
                             dist::ContextDirectory::open(files_.folder_of(reading.id))));
  } catch (const base::InputError& error) {
    fail(reading.id, error.what());
    drop(found->second);
  }
}

void ContextLibrary::begin(const std::string& id) {
  auto tokens = files_.read_text(id);
  if (!tokens) base::input_error("the text of {} is gone", id);
  auto directory = std::make_shared<dist::ContextDirectory>(
      dist::ContextDirectory::open_to_write(files_.folder_of(id), options_.settings));
  refuse_damaged(directory->folders());
  require_beginning(*directory, *tokens);
  if (directory->n_tokens() > tokens->size()) {
    base::input_error("{}: holds {} tokens, expected at most the {} of its text",
                      base::utf8_name(files_.folder_of(id).string()), directory->n_tokens(),
                      tokens->size());
  }
  // What was kept of prompts gives way, as far as it goes.
  make_room(bytes_to_save(tokens->size() - directory->n_tokens(), options_.bytes), id);
  read(id, *std::move(tokens), directory);
}

void ContextLibrary::was_read(std::span<const TokenId> tokens) {
  if (disk_bytes_ == 0) return;
  tokens = tokens.first(tokens.size() / generation::kKeptEvery * generation::kKeptEvery);
  const auto saved = texts_.find(tokens, tokens.size(), 0);
  if (saved) {
    for (auto& [id, entry] : entries_) {
      if (entry.context == saved->context) entry.used = milliseconds_since_1970();
    }
  }
  if (tokens.size() < (saved ? saved->n_tokens : 0) + kLeastKept) return;
  const auto begins = [](std::span<const TokenId> a, std::span<const TokenId> b) {
    return a.size() <= b.size() && std::ranges::equal(a, b.first(a.size()));
  };
  if (std::ranges::any_of(to_keep_, [&](const auto& other) { return begins(tokens, other); })) {
    return;
  }
  std::erase_if(to_keep_, [&](const auto& other) { return begins(other, tokens); });
  to_keep_.emplace_back(tokens.begin(), tokens.end());
  if (to_keep_.size() > kMostToKeep) to_keep_.pop_front();
}

void ContextLibrary::begin_keeping(std::vector<TokenId> tokens) {
  tokens.resize(generator_.n_known(tokens));
  const auto saved = texts_.find(tokens, tokens.size(), 0);
  const std::size_t n_saved = saved ? saved->n_tokens : 0;
  if (tokens.size() < n_saved + kLeastKept) return;
  const std::string id = id_of(tokens);
  if (entries_.contains(id)) return;  // it failed, or waits
  std::optional<dist::ContextParent> parent;
  std::string parent_id;
  for (const auto& [other, entry] : entries_) {
    if (!saved || entry.context != saved->context) continue;
    parent_id = other;
    const auto context = dist::ContextDirectory::open(files_.folder_of(other));
    const auto state = std::ranges::find(context.states(), n_saved, &dist::SavedState::n_tokens);
    if (state == context.states().end()) return;  // not at once, as it is being written
    parent = {dist::folders_of(context.folders(), n_saved).back().path, *state};
  }
  if (!make_room(bytes_to_save(tokens.size() - (parent ? n_saved : 0), options_.bytes), parent_id))
    return;
  auto directory = std::make_shared<dist::ContextDirectory>(
      dist::ContextDirectory::open_to_write(files_.folder_of(id), options_.settings, parent));
  try {
    ContextInfo info{.id = id, .created = std::time(nullptr), .n_tokens = tokens.size()};
    info.is_pinned = false;
    write_about(info);
    {
      const std::lock_guard lock(mutex_);
      entries_[id] = {.info = info, .used = milliseconds_since_1970()};
    }
    read(id, std::move(tokens), directory);
  } catch (const base::InputError&) {
    if (reading_) {
      end_reading();
    } else {
      if (entries_.contains(id)) forget(id);
      files_.remove(id);
    }
    throw;
  }
}

void ContextLibrary::read(const std::string& id, std::vector<TokenId> tokens,
                          std::shared_ptr<dist::ContextDirectory> directory) {
  Entry& entry = entries_.at(id);
  const std::size_t n_begin = directory->n_tokens();
  // One number to save to, and one to restore from: that does not disturb what is being saved.
  drop(entry);
  entry.context = engine_.add_context(directory->folders());
  texts_.add(*entry.context, directory);
  // States of its own are gone on from; others may be known to the generator, which saves them.
  const bool goes_on = directory->has_own_state();
  const std::size_t n_known = goes_on ? 0 : generator_.n_known(tokens);
  Reading& reading = reading_.emplace(Reading{.id = id,
                                              .tokens = std::move(tokens),
                                              .directory = directory,
                                              .n_before = goes_on ? n_begin : 0});
  if (n_begin == reading.tokens.size()) {
    return take(generation::Finished{});
  }
  reading.context = engine_.add_context(directory->folders());
  generation::Request request;
  request.prompt.assign(reading.tokens.begin() + static_cast<std::ptrdiff_t>(reading.n_before),
                        reading.tokens.end());
  request.saving = generation::Saving{options_.states_every, *reading.context, n_begin};
  {
    const std::lock_guard lock(mutex_);
    entry.info.n_saved = n_begin;
    entry.info.n_read = std::max(n_begin, n_known);
    entry.info.status = ContextStatus::kReading;
  }
  const auto sink = [this](const generation::Event& event) { take(event); };
  reading.request = goes_on ? generator_.submit(std::move(request), sink,
                                                engine_.restore(n_begin, *reading.context))
                            : generator_.submit(std::move(request), sink);
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
      return fail(reading.id, error.what());
    }
    const std::lock_guard lock(mutex_);
    info.n_saved = saved->n_tokens;
    return;
  }
  if (end == nullptr) {
    const auto& progress = std::get<generation::PromptProgress>(event);
    if (info.status != ContextStatus::kReading) return;
    const std::lock_guard lock(mutex_);
    info.n_read = reading.n_before + progress.n_read;
    if (progress.n_read == progress.n_shared) return;
    info.seconds_left = base::seconds_since(reading.start) /
                        static_cast<double>(progress.n_read - progress.n_shared) *
                        static_cast<double>(info.n_tokens - info.n_read);
    return;
  }
  if (info.status == ContextStatus::kFailed) return;
  if (end->reason == generation::FinishReason::kFailed) return fail(reading.id, end->error);
  const std::lock_guard lock(mutex_);
  info.seconds_left.reset();
  if (reading.directory->n_tokens() < reading.tokens.size()) {  // stopped
    info.status = ContextStatus::kWaiting;
    return;
  }
  info.n_read = info.n_saved = info.n_tokens;
  info.status = ContextStatus::kReady;
  std::erase(waiting_, reading.id);  // sent again while it was being deleted
  files_.remove_text(reading.id);
}

void ContextLibrary::fail(const std::string& id, const std::string& error) {
  const std::lock_guard lock(mutex_);
  ContextInfo& info = entries_.at(id).info;
  info.status = ContextStatus::kFailed;
  info.error = error;
  info.seconds_left.reset();
}

void ContextLibrary::stop() {
  if (std::exchange(is_stopping_, true) || !is_writable_) return;
  for (const auto& [id, entry] : entries_) {
    if (entry.info.is_pinned) continue;
    try {
      write_about(entry.info);  // when it was used
    } catch (const base::InputError& error) {
      spdlog::warn("{}", error.what());
    }
  }
  if (reading_ && entries_.contains(reading_->id) && entries_.at(reading_->id).info.is_pinned) {
    generator_.cancel(reading_->request);
  }
}

}  // namespace longreach::launch
