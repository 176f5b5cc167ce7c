#include "eval/settings.hpp"

#include "kernels/base/read_file.hpp"
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

/// "book.txt 0123456789abcdef", for every file.
std::string contents(std::span<const std::filesystem::path> files) {
  std::vector<std::string> names;
  for (const auto& path : files) {
    base::Sha256 hash;
    const std::string bytes = base::read_file(path);
    hash.update(std::as_bytes(std::span(bytes)));
    names.push_back(
        fmt::format("{} {}", path.filename().string(), hash.hex_digest().substr(0, 16)));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

Settings task_settings(const TaskKind& kind, const TaskOptions& options) {
  Settings settings;
  const bool has_files = kind.form == TaskForm::kQuestions || kind.form == TaskForm::kTexts;
  if (has_files) settings.emplace_back("files", contents(options.files));
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
  if (options.n_new) settings.emplace_back("new_tokens", *options.n_new);
  if (!options.stop_text.empty()) settings.emplace_back("stop", options.stop_text);
  return settings;
}

}  // namespace longreach::eval
