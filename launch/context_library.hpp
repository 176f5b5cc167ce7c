/// The contexts of a server, in a folder: <id>/ is a context (dist/context/format.md), <id>.json
/// what clients call it, and that it is deleted while it is being deleted, and <id>.text the text
/// while it is not read to its end. A server that was killed goes on where it was.
#pragma once

#include "dist/context/context_directory.hpp"
#include "generation/generator.hpp"
#include "serve/context_library.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::launch {

class ContextLibrary final : public serve::ContextLibrary {
 public:
  struct Options {
    std::filesystem::path folder;
    dist::ContextSettings settings;
    std::size_t states_every = 0;  ///< Tokens.
  };

  /// Knows what `engine` was made with, all of which is in `texts`, and what was not read to its
  /// end. The arguments by reference must outlive it. Errors: InputError naming a file.
  ContextLibrary(Options options, const std::vector<dist::ContextFolders>& contexts,
                 dist::Engine& engine, generation::Generator& generator,
                 generation::SavedTexts& texts);

  std::vector<serve::ContextInfo> list() const override;
  serve::ContextInfo find(const std::string& id) const override;
  std::vector<base::TokenId> tokens(const std::string& id) const override;
  serve::ContextInfo add(std::vector<base::TokenId> tokens, const std::string& name) override;
  serve::ContextInfo rename(const std::string& id, const std::string& name) override;
  void remove(const std::string& id) override;

  /// Between steps of the generator: ends what was read, and begins to read the next text.
  void work();
  /// Nothing is begun any more; what is being read is saved as far as it is.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;

  struct Entry {
    serve::ContextInfo info;
    std::optional<std::size_t> context = {};  ///< The engine's number, for prompts to go on after.
  };
  /// A text that is being read.
  struct Reading {
    std::string id;
    std::vector<base::TokenId> tokens;
    std::shared_ptr<dist::ContextDirectory> directory;
    std::optional<std::size_t> context = {};  ///< The engine's number, for what is saved.
    std::size_t n_begin = 0;                  ///< Tokens that were saved before.
    generation::RequestId request = 0;
    Clock::time_point start = Clock::now();
    bool has_ended = false;
  };

  std::filesystem::path folder_of(const std::string& id) const { return options_.folder / id; }
  std::filesystem::path about_path(const std::string& id) const;
  std::filesystem::path text_path(const std::string& id) const;
  std::string id_of(std::span<const base::TokenId> tokens) const;
  /// Takes in what the folder says of contexts, and ends deletions that were begun.
  void find_abouts();
  void read_about(const std::string& id);
  /// Adds what a folder holds of contexts that are not read to their end.
  void find_unread();
  /// Names of plain files that end in a suffix, without it, in order.
  std::vector<std::string> names_with(std::string_view suffix) const;
  void write_about(const serve::ContextInfo& info) const;
  /// From now on it is deleted, whatever happens to its files. Errors: InputError.
  void write_deleted(const std::string& id) const;
  void remove_files(const std::string& id) const;
  /// Whether it goes on after the context in that folder; false if it cannot be read.
  static bool goes_on_after(const std::filesystem::path& child,
                            const std::filesystem::path& parent);
  void write_text(const std::string& id, std::span<const base::TokenId> tokens) const;
  /// None if the file is not there. Errors: InputError naming it.
  std::optional<std::vector<base::TokenId>> read_text(const std::string& id) const;
  void begin(const std::string& id);
  /// Lets go of what was read, or takes it away if it was deleted meanwhile.
  void end_reading();
  void take(const generation::Event& event);
  void fail(const std::string& id, const std::string& error);
  /// Forgets what the engine knows of a context.
  void drop(Entry& entry);

  Options options_;
  dist::Engine& engine_;
  generation::Generator& generator_;
  generation::SavedTexts& texts_;
  std::deque<std::string> waiting_;  ///< Ids of texts to read.
  std::optional<Reading> reading_;
  bool is_stopping_ = false;

  mutable std::mutex mutex_;              ///< For what follows.
  std::map<std::string, Entry> entries_;  ///< By id. Changed by the thread of the loop only.
};

}  // namespace longreach::launch
