#include "eval/long_loss.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/lines.hpp"
#include "kernels/base/read_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace longreach::eval {
namespace {

/// Calls visit(where, text) for every text of a file.
template <typename Visit>
void for_texts(const std::filesystem::path& path, Visit&& visit) {
  const std::string bytes = base::read_file(path);
  if (path.extension() != ".jsonl") {
    visit(path.string(), bytes);
    return;
  }
  base::for_lines(bytes, [&](std::size_t number, std::string_view line) {
    const std::string where = base::line_name(path, number);
    const nlohmann::json object = base::parse_json(std::string(line), where);
    if (!object.is_object()) base::input_error("{}: expected a JSON object", where);
    const auto text = object.find("text");
    if (text == object.end() || !text->is_string()) {
      base::input_error("{}: expected a text as \"text\"", where);
    }
    visit(where, text->template get<std::string>());
  });
}

class LongLoss final : public Task {
 public:
  LongLoss(std::vector<QuestionSpec> specs, std::vector<std::vector<base::TokenId>> texts,
           std::vector<std::size_t> bounds)
      : Task("loss", std::move(specs)), texts_(std::move(texts)), bounds_(std::move(bounds)) {}

  Question question(std::size_t index) const override {
    Question question;
    question.prompt = texts_[index];
    ToPredict asked;
    for (const std::size_t bound : bounds_) {
      if (bound < question.prompt.size()) asked.bounds.push_back(bound);
    }
    question.asked = std::move(asked);
    return question;
  }

 private:
  std::vector<std::vector<base::TokenId>> texts_;  ///< One token more than predictions.
  std::vector<std::size_t> bounds_;                ///< From 0 on, rising.
};

}  // namespace

std::unique_ptr<Task> make_long_loss(const TaskOptions& options,
                                     const model::Tokenizer& tokenizer) {
  std::vector<std::size_t> bounds{0};
  bounds.insert(bounds.end(), options.lengths.begin(), options.lengths.end());
  std::ranges::sort(bounds);
  bounds.erase(std::ranges::unique(bounds).begin(), bounds.end());
  std::vector<QuestionSpec> specs;
  std::vector<std::vector<base::TokenId>> texts;
  for (const auto& path : options.files) {
    for_texts(path, [&](const std::string& where, const std::string& text) {
      std::vector<base::TokenId> tokens;
      try {
        tokens = tokenizer.encode(text);
      } catch (const base::InputError& error) {
        base::input_error("{}: {}", where, error.what());
      }
      const std::size_t n_left = tokens.size() - std::min(tokens.size(), options.n_skipped);
      // The longest length that the text has; a prediction needs the token behind it.
      const auto longest = std::ranges::find_if(bounds.rbegin(), bounds.rend(),
                                                [&](std::size_t bound) { return bound < n_left; });
      if (texts.size() == options.n_samples || longest == bounds.rend() || *longest == 0) return;
      const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(options.n_skipped);
      texts.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(*longest + 1));
      specs.push_back({*longest, std::nullopt, specs.size()});
    });
  }
  if (texts.empty()) {
    base::input_error("--texts: no text has more than {} tokens", bounds[1] + options.n_skipped);
  }
  return std::make_unique<LongLoss>(std::move(specs), std::move(texts), std::move(bounds));
}

}  // namespace longreach::eval
