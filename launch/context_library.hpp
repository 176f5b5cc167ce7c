/// The contexts of a server, in a folder (context_files.hpp). A server that was killed goes on
/// where it was.
///
/// Clients send texts to be kept; beginnings of long prompts are kept, too, as far as a budget of
/// bytes allows: they are saved from memory, after what is saved already. Of those, the ones that
/// were not used for longest give way. (What reading them again costs does not tell them apart: it
/// is as large for each byte.)
#pragma once

#include "dist/context/context_directory.hpp"
#include "generation/generator.hpp"
#include "launch/context_files.hpp"
#include "launch/saved_context.hpp"
#include "serve/context_library.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace longreach::launch {

/// What the shortest beginning of a prompt takes on the disk that is kept, about.
std::size_t least_kept_bytes(const ContextBytes& bytes);

class ContextLibrary final : public serve::ContextLibrary {
 public:
  struct Options {
    std::filesystem::path folder;
    dist::ContextSettings settings;
    std::size_t states_every = 0;  ///< Tokens.
    /// Prompts are kept as long as all contexts fit; 0: none is. Default: half of what is free and
    /// what contexts take already.
    std::optional<std::size_t> disk_bytes = {};
    ContextBytes bytes = {};
  };

  /// Knows what `engine` was made with, all of which is in `texts`, and what was not read to its
  /// end. The arguments by reference must outlive it. Errors: InputError naming a file.
  ContextLibrary(Options options, const std::vector<dist::ContextFolders>& contexts,
                 dist::Engine& engine, generation::Generator& generator,
                 generation::SavedTexts& texts);

  std::vector<serve::ContextInfo> list() const override;
  serve::ContextInfo find(const std::string& id) const override;
  serve::ContextUsage usage() const override;
  std::vector<base::TokenId> tokens(const std::string& id) const override;
  serve::ContextInfo add(std::vector<base::TokenId> tokens, const std::string& name) override;
  serve::ContextInfo change(const std::string& id, const serve::ContextChange& wanted) override;
  void remove(const std::string& id) override;

  /// Between steps of the generator: ends what was read, and begins to read the next text.
  void work();
  /// No text is begun any more, and what is being read is saved as far as it is. Prompts that were
  /// read are saved to their end, as long as work() is called.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;

  struct Entry {
    serve::ContextInfo info;
    std::optional<std::size_t> context = {};  ///< The engine's number, for prompts to go on after.
    std::int64_t used = 0;                    ///< Milliseconds since 1970.
  };
  /// A text that is being read.
  struct Reading {
    std::string id;
    std::vector<base::TokenId> tokens;
    std::shared_ptr<dist::ContextDirectory> directory;
    std::optional<std::size_t> context = {};  ///< The engine's number, for what is saved.
    std::size_t n_before = 0;                 ///< Tokens before those of the request.
    generation::RequestId request = 0;
    Clock::time_point start = Clock::now();
    bool has_ended = false;
  };

  std::string id_of(std::span<const base::TokenId> tokens) const;
  /// Takes in a context that holds tokens, by the engine's number, and what is wrong with it.
  void add_found(std::size_t context, const dist::ContextFolders& folders);
  /// Takes in what other servers have done with the folder, if they have.
  void look_again();
  /// Takes in what the folder says of contexts, and ends deletions that were begun.
  void find_abouts();
  void take_about(const std::string& id);
  /// Deletes what was kept of prompts and is not whole.
  void drop_unfinished();
  /// Adds what a folder holds of contexts that are not read to their end.
  void find_unread();
  void write_about(const serve::ContextInfo& info) const;
  /// Errors: ApiError 403 if the folder cannot be written.
  void require_writable() const;
  void begin(const std::string& id);
  /// Something of a prompt was read, or known.
  void was_read(std::span<const base::TokenId> tokens);
  /// Begins to save what memory has of a prompt, if it is worth it and there is room.
  void begin_keeping(std::vector<base::TokenId> tokens);
  /// Reads or saves what a context does not hold yet.
  void read(const std::string& id, std::vector<base::TokenId> tokens,
            std::shared_ptr<dist::ContextDirectory> directory);
  /// Of all contexts.
  std::size_t disk_bytes_taken() const;
  /// Deletes contexts, but for one, until so many bytes more fit; whether they do.
  bool make_room(std::size_t n_bytes, const std::string& needed);
  /// Whether others go on after it; then the name of one.
  std::optional<std::string> child_of(const std::string& id) const;
  /// From now on no prompt begins with it; its files stay for a while.
  void forget(const std::string& id);
  /// Lets go of what was read, or takes it away if it was deleted meanwhile.
  void end_reading();
  void take(const generation::Event& event);
  void fail(const std::string& id, const std::string& error);
  /// Forgets what the engine knows of a context.
  void drop(Entry& entry);

  Options options_;
  ContextFiles files_;
  bool is_writable_;            ///< Else nothing is added, and what is there stays as it is.
  std::size_t disk_bytes_ = 0;  ///< For prompts, with all other contexts; 0: none is kept.
  dist::Engine& engine_;
  generation::Generator& generator_;
  generation::SavedTexts& texts_;
  std::deque<std::string> waiting_;  ///< Ids of texts to read.
  /// Beginnings of prompts, none of which another one begins with; the newest last.
  std::deque<std::vector<base::TokenId>> to_keep_;
  std::optional<Reading> reading_;
  bool is_stopping_ = false;
  std::filesystem::file_time_type changed_ = {};  ///< The folder, when it was last looked at.
  Clock::time_point looked_ = {};
  bool others_write_ = false;         ///< Contexts in it, which are not known yet.
  std::set<std::string> left_aside_;  ///< Ids of what cannot be used here.

  mutable std::mutex mutex_;              ///< For what follows.
  std::map<std::string, Entry> entries_;  ///< By id. Changed by the thread of the loop only.
  std::size_t n_evicted_ = 0;             ///< The same.
};

}  // namespace longreach::launch
