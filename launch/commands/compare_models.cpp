#include "launch/commands/compare_models.hpp"

#include "generation/logprobs.hpp"
#include "launch/machine/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string_view>
#include <vector>

namespace longreach::launch {
namespace {

/// What a run over the text gave.
struct TextScore {
  base::WeightFormat weights = base::WeightFormat::kF32;
  std::size_t weight_bytes = 0;
  double loss = 0;           ///< Nats a token.
  double largest_error = 0;  ///< Of a logit; NaN if one is no number.
};

/// Compares logits with those of the first run, which come first. In order of positions.
class LogitErrors {
 public:
  /// The largest difference of a row, (vocabulary).
  double of(std::size_t position, std::span<const float> logits) {
    if (reference_.size() == position * logits.size()) {
      reference_.insert(reference_.end(), logits.begin(), logits.end());
    }
    double largest = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double error =
          std::abs(double{logits[i]} - double{reference_[position * logits.size() + i]});
      if (!(error <= largest)) largest = error;
    }
    return largest;
  }

 private:
  std::vector<float> reference_;  ///< [positions, vocabulary]
};

/// One run; on the other ranks no score. Nothing if a signal ended it. Collective.
std::optional<TextScore> score_text(const ModelOptions& options,
                                    std::span<const base::TokenId> tokens, LogitErrors& errors,
                                    const StopSignals& signals, dist::World& world) {
  OpenedModel opened = world.agree([&] { return open_model(options); });
  TextScore score{.weights = opened.engine_options.weights};
  const std::size_t n = tokens.size();
  const auto engine = load_engine(opened, {n, n, 0, "--text"}, world);
  if (!engine->leads()) {
    engine->serve();
    return score;
  }
  std::vector<std::size_t> positions(n - 1);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  ProgressLine line(n, "comparing");
  dist::Session session = engine->new_session();
  const bool finished = engine->feed(
      session, tokens, positions,
      [&](std::size_t position, std::span<const float> logits) {
        score.loss -= generation::logprobs_of(logits, tokens[position + 1], 0).own.logprob;
        const double error = errors.of(position, logits);
        if (!(error <= score.largest_error)) score.largest_error = error;
      },
      [&](double share_done) {
        line.update(share_done);
        return !signals.received();
      });
  if (!finished) return std::nullopt;
  score.loss /= static_cast<double>(positions.size());
  score.weight_bytes = engine->weight_bytes();
  return score;
}

}  // namespace

std::optional<std::string> compare_models(const ModelOptions& source, const ModelOptions& result,
                                          std::span<const base::TokenId> tokens,
                                          const StopSignals& signals, dist::World& world) {
  using base::WeightFormat;
  std::string table = fmt::format("{:<8}{:>9}{:>15}{:>22}{:>22}\n", "model", "weights",
                                  "bytes a token", "loss (nats a token)", "largest logit error");
  LogitErrors errors;
  for (const auto& [name, model] : {std::pair("source", &source), std::pair("result", &result)}) {
    for (const auto weights : {std::optional<WeightFormat>(), std::optional(WeightFormat::kInt8),
                               std::optional(WeightFormat::kInt4)}) {
      ModelOptions options = *model;
      options.weights = weights;
      const auto score = score_text(options, tokens, errors, signals, world);
      if (exit_code_anywhere(signals, world) != 0 || !score) return std::nullopt;
      table +=
          fmt::format("{:<8}{:>9}{:>15}{:>22.4f}{:>22.4f}\n", name, base::name_of(score->weights),
                      bytes_text(score->weight_bytes), score->loss, score->largest_error);
    }
  }
  return table;
}

}  // namespace longreach::launch
