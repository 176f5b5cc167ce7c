#include "eval/examiner.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/sha256.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace longreach::eval {
namespace {

using base::TokenId;

generation::Request request_of(const Question& question) {
  LR_CHECK(!question.prompt.empty());
  generation::Request request;
  request.prompt = question.prompt;
  request.hashes_logits = true;
  if (const auto* const asked = std::get_if<ToAnswer>(&question.asked)) {
    request.n_new = asked->n_new;
    request.sampler.temperature = 0;
    request.sampler.presence = request.sampler.frequency = 0;
    request.wants_evidence = question.needle.has_value();
    if (!asked->stop_text.empty()) request.stop_strings = {asked->stop_text};
    if (question.n_shared > 0) request.shared_lengths = {question.n_shared};
  } else {
    request.prompt_logprobs_from = 1;
  }
  return request;
}

/// As Outcome has it.
std::size_t first_holding(std::span<const generation::Passage> passages, partition::Range needle) {
  const auto found = std::ranges::find_if(passages, [needle](const generation::Passage& passage) {
    return passage.first < needle.end && needle.begin < passage.end();
  });
  return found == passages.end() ? 0 : static_cast<std::size_t>(found - passages.begin()) + 1;
}

/// A question under way: makes its outcome of what is generated.
class Inquiry {
 public:
  Inquiry(const Question& question, Listener listener)
      : n_prompt_(question.prompt.size()),
        needle_(question.needle),
        listener_(std::move(listener)) {
    if (const auto* const asked = std::get_if<ToPredict>(&question.asked)) bounds_ = asked->bounds;
  }

  void take(const generation::PromptProgress& progress) {
    listener_.progress(static_cast<double>(progress.n_read) / static_cast<double>(n_prompt_));
  }
  void take(const generation::PromptLogprobs& token) {
    sum_ -= token.logprobs.own.logprob;
    if (part_ == bounds_.size() || token.position < bounds_[part_]) return;
    outcome_.losses.push_back(sum_ / static_cast<double>(bounds_[part_] - bounds_[part_ - 1]));
    if (!std::isfinite(sum_)) base::input_error("the model's logits are no numbers");
    sum_ = 0;
    ++part_;
  }
  void take(const generation::Saved&) {}
  void take(const generation::NewToken& token) { outcome_.answer += token.text; }
  void take(const generation::Finished& finished) {
    if (finished.reason == generation::FinishReason::kFailed) {
      base::input_error("{}", finished.error);
    }
    outcome_.answer += finished.text;
    outcome_.answer = std::string(stripped(outcome_.answer));
    outcome_.logits_sha256 = finished.logits_sha256;
    if (needle_) outcome_.needle_passage = first_holding(finished.evidence, *needle_);
    listener_.done(outcome_);
  }

 private:
  std::size_t n_prompt_;
  std::optional<partition::Range> needle_;
  std::vector<std::size_t> bounds_;
  Listener listener_;
  Outcome outcome_;
  double sum_ = 0;
  std::size_t part_ = 1;
};

}  // namespace

Examiner::Examiner(dist::Engine& engine, const model::ModelConfig& config,
                   const model::Tokenizer& tokenizer, const generation::GeneratorOptions& options)
    : n_at_once_(options.max_running), generator_(engine, config, tokenizer, options) {}

void Examiner::ask(const Question& question, Listener listener) {
  const auto inquiry = std::make_shared<Inquiry>(question, std::move(listener));
  generator_.submit(request_of(question), [inquiry](const generation::Event& event) {
    std::visit([&](const auto& each) { inquiry->take(each); }, event);
  });
}

std::string model_fingerprint(dist::Engine& engine) {
  constexpr std::array<TokenId, 4> kTokens{1, 2, 3, 1};
  constexpr std::array<std::size_t, 1> kLast{kTokens.size() - 1};
  base::Sha256 hash;
  dist::Session session = engine.new_session();
  engine.feed(session, kTokens, kLast, [&hash](std::size_t, std::span<const float> logits) {
    hash.update(std::as_bytes(logits));
  });
  return hash.hex_digest().substr(0, 16);
}

}  // namespace longreach::eval
