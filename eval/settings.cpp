#include "eval/settings.hpp"

#include "kernels/base/sha256.hpp"

#include <fmt/ranges.h>

#include <span>

namespace longreach::eval {
namespace {

std::string_view name_of(Match match) {
  switch (match) {
    case Match::kExact:
      return "exact";
    case Match::kAny:
      return "any";
    case Match::kAll:
      return "all";
  }
  return {};
}

/// What hashes are known by at a glance.
constexpr std::size_t kDigits = 16;

template <typename Value>
void add(base::Sha256& hash, std::span<const Value> values) {
  const std::uint64_t n = values.size();
  hash.update(std::as_bytes(std::span(&n, 1)));
  hash.update(std::as_bytes(values));
}

std::string file_names(std::span<const std::filesystem::path> files) {
  std::vector<std::string> names;
  for (const auto& path : files) names.push_back(path.filename().string());
  return fmt::format("{}", fmt::join(names, ", "));
}

/// Of all that is asked, as it was read: a file may be a pipe, or another one by now.
std::string hash_of_questions(const Task& task) {
  base::Sha256 hash;
  for (std::size_t index = 0; index < task.specs().size(); ++index) {
    const Question question = task.question(index);
    add(hash, std::span<const base::TokenId>(question.prompt));
    if (const auto* asked = std::get_if<ToAnswer>(&question.asked)) {
      for (const std::string& text : asked->expected) add(hash, std::span<const char>(text));
    } else {
      add(hash, std::span<const std::size_t>(std::get<ToPredict>(question.asked).bounds));
    }
  }
  return hash.hex_digest().substr(0, kDigits);
}

}  // namespace

std::string hash_of_vocabulary(const model::Tokenizer& tokenizer, std::size_t vocab_size) {
  base::Sha256 hash;
  for (std::size_t id = 0; id < vocab_size; ++id) {
    const auto text = tokenizer.find(static_cast<base::TokenId>(id)).value_or(std::string_view{});
    add(hash, std::span<const char>(text));
  }
  return hash.hex_digest().substr(0, kDigits);
}

Settings task_settings(const TaskKind& kind, const TaskOptions& options, const Task& task) {
  Settings settings;
  const bool has_files = kind.form == TaskForm::kQuestions || kind.form == TaskForm::kTexts;
  if (has_files) {
    settings.emplace_back("files", file_names(options.files));
    settings.emplace_back("questions", hash_of_questions(task));
  }
  if (kind.form != TaskForm::kQuestions) {
    settings.emplace_back("lengths", fmt::format("{}", fmt::join(options.lengths, ",")));
    settings.emplace_back("samples", options.n_samples);
  }
  if (!has_files) settings.emplace_back("seed", options.seed);
  if (kind.form == TaskForm::kPasskey || kind.form == TaskForm::kNeedles) {
    settings.emplace_back("depths", options.n_depths);
  }
  if (kind.form == TaskForm::kTexts) settings.emplace_back("skip", options.n_skipped);
  if (kind.form == TaskForm::kQuestions) {
    settings.emplace_back("match", std::string(name_of(options.match)));
  }
  if (options.wants_evidence) settings.emplace_back("evidence", "needle");
  if (options.n_new) settings.emplace_back("new_tokens", *options.n_new);
  if (!options.stop_text.empty()) settings.emplace_back("stop", options.stop_text);
  return settings;
}

}  // namespace longreach::eval
