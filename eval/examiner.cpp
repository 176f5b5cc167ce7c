#include "eval/examiner.hpp"

#include "generation/text_stream.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/sha256.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace longreach::eval {
namespace {

using base::TokenId;

/// -log softmax(logits)[token], in nats.
double loss(std::span<const float> logits, TokenId token) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

generation::SamplerOptions greedy(const model::ModelConfig& config,
                                  const model::Tokenizer& tokenizer) {
  generation::SamplerOptions options;
  options.temperature = 0;
  options.presence = options.frequency = 0;
  options.banned = model::ids_without_text(tokenizer, config.vocab_size, config.end_token);
  return options;
}

}  // namespace

Examiner::Examiner(dist::Engine& engine, const model::ModelConfig& config,
                   const model::Tokenizer& tokenizer, Sharing sharing)
    : engine_(engine),
      tokenizer_(tokenizer),
      end_token_(config.end_token),
      sharing_(sharing),
      greedy_(tokenizer, greedy(config, tokenizer)) {}

std::optional<Outcome> Examiner::ask(const Question& question, const dist::Progress& progress) {
  LR_CHECK(!question.prompt.empty());
  const auto* asked = std::get_if<ToAnswer>(&question.asked);
  return asked ? answer(question, *asked, progress)
               : predict(question, std::get<ToPredict>(question.asked), progress);
}

dist::Session Examiner::begin(const Question& question, std::size_t first_wanted) {
  if (kept_) {
    const std::span<const TokenId> kept(kept_->tokens);
    const std::size_t n = kept.size();
    if (n <= first_wanted && std::ranges::equal(kept, std::span(question.prompt).first(n))) {
      return engine_.fork(kept_->session);
    }
    kept_.reset();  // its memory is needed now
  }
  return engine_.new_session();
}

std::optional<dist::Session> Examiner::read(const Question& question,
                                            std::span<const std::size_t> wanted,
                                            const dist::LogitsSink& sink,
                                            const dist::Progress& progress) {
  const std::span<const TokenId> prompt(question.prompt);
  dist::Session session = begin(question, wanted.front());
  const auto read_to = [&](std::size_t end) {
    const std::size_t n_before = session.n_tokens(), n = end - n_before;
    n_tokens_read_ += n;
    return engine_.feed(session, prompt.subspan(n_before, n), wanted, sink, [&](double share) {
      const double n_read = static_cast<double>(n_before) + share * static_cast<double>(n);
      return progress(n_read / static_cast<double>(prompt.size()));
    });
  };
  if (sharing_ == Sharing::kPrefixes && question.n_shared > session.n_tokens() &&
      question.n_shared <= wanted.front()) {
    if (!read_to(question.n_shared)) return std::nullopt;
    const auto shared = prompt.first(question.n_shared);
    kept_ = Kept{{shared.begin(), shared.end()}, engine_.fork(session)};
  }
  if (!read_to(prompt.size())) return std::nullopt;
  return session;
}

std::optional<Outcome> Examiner::answer(const Question& question, const ToAnswer& asked,
                                        const dist::Progress& progress) {
  base::Sha256 hash;
  TokenId next = end_token_;
  const dist::LogitsSink choose = [&](std::size_t, std::span<const float> logits) {
    hash.update(std::as_bytes(logits));
    next = greedy_.sample(logits);
  };
  const std::array last{question.prompt.size() - 1};
  std::optional<dist::Session> session = read(question, last, choose, progress);
  if (!session) return std::nullopt;

  generation::TextStream text(asked.stop_text.empty() ? std::vector<std::string>{}
                                                      : std::vector{asked.stop_text});
  std::string answer;
  for (std::size_t n = 1; next != end_token_; ++n) {
    answer += text.push(tokenizer_.find(next).value_or(std::string_view{}));
    if (text.stopped() || n == asked.n_new) break;
    const std::array token{next};
    if (!progress(1)) return std::nullopt;
    engine_.feed(*session, token, std::array{session->n_tokens()}, choose);
    ++n_tokens_read_;
  }
  answer += text.flush();
  return Outcome{std::string(stripped(answer)), {}, hash.hex_digest()};
}

std::optional<Outcome> Examiner::predict(const Question& question, const ToPredict& asked,
                                         const dist::Progress& progress) {
  base::Sha256 hash;
  Outcome outcome;
  std::vector<std::size_t> predictions(question.prompt.size() - 1);
  std::iota(predictions.begin(), predictions.end(), std::size_t{0});
  double sum = 0;
  std::size_t part = 1;
  const dist::LogitsSink measure = [&](std::size_t position, std::span<const float> logits) {
    hash.update(std::as_bytes(logits));
    sum += loss(logits, question.prompt[position + 1]);
    if (part == asked.bounds.size() || position + 1 < asked.bounds[part]) return;
    outcome.losses.push_back(sum /
                             static_cast<double>(asked.bounds[part] - asked.bounds[part - 1]));
    if (!std::isfinite(sum)) base::input_error("the model's logits are no numbers");
    sum = 0;
    ++part;
  };
  if (!read(question, predictions, measure, progress)) return std::nullopt;
  outcome.logits_sha256 = hash.hex_digest();
  return outcome;
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
