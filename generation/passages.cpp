#include "generation/passages.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace longreach::generation {
namespace {

bool is_heavier(const Passage& a, const Passage& b) {
  return a.weight > b.weight || (a.weight == b.weight && a.first < b.first);
}

}  // namespace

std::string text_of(const Passage& passage, std::span<const base::TokenId> tokens,
                    const model::Tokenizer& tokenizer) {
  std::string text;
  for (const base::TokenId token : tokens.subspan(passage.first, passage.n_tokens)) {
    text += tokenizer.find(token).value_or(std::string_view{});
  }
  return text;
}

std::string json_of(const Passage& passage, std::span<const base::TokenId> tokens,
                    const model::Tokenizer& tokenizer) {
  const nlohmann::ordered_json json = {{"first", passage.first},
                                       {"tokens", passage.n_tokens},
                                       {"weight", passage.weight},
                                       {"text", text_of(passage, tokens, tokenizer)}};
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::vector<Passage> best_passages(std::vector<Passage> spans) {
  std::ranges::sort(spans, is_heavier);
  spans.resize(std::min(spans.size(), kMostSpans));
  std::ranges::sort(spans, {}, &Passage::first);
  std::vector<Passage> passages;
  for (const Passage& span : spans) {
    if (!passages.empty() && passages.back().end() == span.first) {
      passages.back().n_tokens += span.n_tokens;
      passages.back().weight += span.weight;
    } else {
      passages.push_back(span);
    }
  }
  std::ranges::sort(passages, is_heavier);
  return passages;
}

std::vector<Passage> AnswerEvidence::add(std::span<const dist::AttendedSpan> spans) {
  ++n_added_;
  std::vector<Passage> counted;
  for (const dist::AttendedSpan& span : spans) {
    if (span.first + span.n_tokens > n_tokens_) continue;
    counted.push_back({span.first, span.n_tokens, span.weight});
    Passage& sum =
        spans_.try_emplace(span.first, Passage{span.first, span.n_tokens, 0}).first->second;
    sum.weight += span.weight;
  }
  return best_passages(std::move(counted));
}

std::vector<Passage> AnswerEvidence::passages() const {
  std::vector<Passage> spans;
  for (const auto& [first, sum] : spans_) {
    spans.push_back({first, sum.n_tokens, sum.weight / static_cast<double>(n_added_)});
  }
  return best_passages(std::move(spans));
}

}  // namespace longreach::generation
