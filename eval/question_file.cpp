#include "eval/question_file.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/read_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace longreach::eval {
namespace {

using nlohmann::json;

constexpr std::size_t kAnswerTokens = 128;

/// A line of a file.
struct Line {
  std::string where;  ///< "FILE line N"
  json object;

  [[noreturn]] void refuse(std::string_view expected) const {
    base::input_error("{}: expected {}", where, expected);
  }
  /// The text of a field; empty if there is none and it may be absent.
  std::string text(const char* field) const {
    const auto found = object.find(field);
    if (found == object.end()) return {};
    if (!found->is_string()) refuse(fmt::format("a text as \"{}\"", field));
    return found->get<std::string>();
  }
  /// The texts of a field that holds one or a list of them.
  std::vector<std::string> texts(const char* field) const {
    const json& value = object[field];
    if (value.is_string()) return {value.get<std::string>()};
    std::vector<std::string> all;
    if (value.is_array()) {
      for (const json& item : value) {
        if (item.is_string()) all.push_back(item.get<std::string>());
      }
    }
    if (all.empty() || all.size() != value.size()) {
      refuse(fmt::format("a text or a list of texts as \"{}\"", field));
    }
    return all;
  }
};

Line parse(const std::string& where, std::string_view text) {
  Line line{where, base::parse_json(std::string(text), where)};
  if (!line.object.is_object()) line.refuse("a JSON object");
  return line;
}

struct Entry {
  std::vector<base::TokenId> prompt;
  std::vector<std::string> expected;
};

Entry read_entry(const Line& line, const model::Tokenizer& tokenizer) {
  if (!line.object.contains("input")) line.refuse("a field \"input\"");
  const char* field = line.object.contains("outputs") ? "outputs" : "answer";
  if (!line.object.contains(field)) line.refuse("a field \"outputs\" or \"answer\"");
  Entry entry;
  entry.expected = line.texts(field);
  if (std::ranges::any_of(entry.expected, &std::string::empty)) {
    line.refuse(fmt::format("no empty text in \"{}\"", field));
  }
  try {
    entry.prompt = tokenizer.encode(line.text("input") + line.text("answer_prefix"));
  } catch (const base::InputError& error) {
    base::input_error("{}: {}", line.where, error.what());
  }
  if (entry.prompt.empty()) line.refuse("an \"input\" that is not empty");
  return entry;
}

/// How many tokens both begin with.
std::size_t n_common(const Entry& a, const Entry& b) {
  const auto [end, ignored] = std::ranges::mismatch(a.prompt, b.prompt);
  return static_cast<std::size_t>(end - a.prompt.begin());
}

class QuestionFile final : public Task {
 public:
  QuestionFile(std::vector<QuestionSpec> specs, std::vector<Entry> entries,
               const TaskOptions& options)
      : Task("jsonl", std::move(specs)),
        entries_(std::move(entries)),
        asked_{options.n_new.value_or(kAnswerTokens), options.stop_text, {}, options.match} {}

  Question question(std::size_t index) const override {
    const Entry& entry = entries_[index];
    Question question;
    question.prompt = entry.prompt;
    if (index + 1 < entries_.size()) question.n_shared = specs()[index + 1].n_shared;
    ToAnswer asked = asked_;
    asked.expected = entry.expected;
    question.asked = std::move(asked);
    return question;
  }

 private:
  std::vector<Entry> entries_;
  ToAnswer asked_;
};

}  // namespace

std::unique_ptr<Task> make_question_file(const TaskOptions& options,
                                         const model::Tokenizer& tokenizer) {
  std::vector<QuestionSpec> specs;
  std::vector<Entry> entries;
  for (const auto& path : options.files) {
    const std::string bytes = base::read_file(path);
    const std::size_t n_before = entries.size();
    base::for_lines(bytes, [&](std::size_t number, std::string_view text) {
      Entry entry = read_entry(parse(base::line_name(path, number), text), tokenizer);
      const std::size_t length = entry.prompt.size() + options.n_new.value_or(kAnswerTokens);
      const std::size_t n_shared = entries.empty() ? 0 : n_common(entries.back(), entry);
      specs.push_back({length, std::nullopt, specs.size(), n_shared});
      entries.push_back(std::move(entry));
    });
    if (entries.size() == n_before) base::input_error("{}: holds no questions", path.string());
  }
  return std::make_unique<QuestionFile>(std::move(specs), std::move(entries), options);
}

}  // namespace longreach::eval
