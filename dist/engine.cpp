#include "dist/engine.hpp"

#include "kernels/isa.hpp"
#include "model/sparse_attention.hpp"

#include <algorithm>

namespace longreach::dist {
namespace {

using base::MatView;

/// Positions whose logits are computed together: enough to reuse the head's weights, few enough to
/// keep V numbers for each.
constexpr std::size_t kLogitRows = 16;

model::Weights verify_and_load(const model::Checkpoint& checkpoint,
                               const model::ModelConfig& config, base::WeightFormat format,
                               kernels::ThreadPool& pool) {
  kernels::active_isa();  // a wrong LONGREACH_ISA ends here, not in the middle of a run
  checkpoint.verify();
  model::Weights weights = model::load_weights(checkpoint, config, format, pool);
  checkpoint.release_pages();
  return weights;
}

}  // namespace

Engine::Engine(const model::Checkpoint& checkpoint, const model::ModelConfig& config,
               const EngineOptions& options)
    : checkpoint_(checkpoint),
      config_(config),
      attention_(options.attention),
      pool_(options.n_threads),
      weights_(verify_and_load(checkpoint, config, options.weights, pool_)),
      workspace_(config, options.n_threads),
      context_{config_, attention_, weights_, workspace_, pool_} {}

Session Engine::new_session() const {
  return {model::SequenceState(config_, attention_.chunk_size)};
}

void Engine::check_tokens(std::span<const base::TokenId> tokens) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<std::size_t>(tokens[i]) >= config_.vocab_size) {
      base::input_error("token {} at index {} is outside the vocabulary of {}", tokens[i], i,
                        config_.vocab_size);
    }
  }
}

void Engine::send_logits(MatView<const float> x, std::size_t position,
                         std::span<const std::size_t> wanted, const LogitsSink& sink) {
  const auto first = std::lower_bound(wanted.begin(), wanted.end(), position);
  const auto last = std::lower_bound(first, wanted.end(), position + x.rows());
  model::Rows rows(kLogitRows, config_.n_embd), logits(kLogitRows, config_.vocab_size);
  for (auto next = first; next < last;) {
    const std::size_t n = std::min(kLogitRows, static_cast<std::size_t>(last - next));
    const auto hidden = rows.first(n), result = logits.first(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto row = x.row(next[static_cast<std::ptrdiff_t>(i)] - position);
      std::copy(row.begin(), row.end(), hidden.row(i).begin());
    }
    model::compute_logits(context_, hidden, result);
    for (std::size_t i = 0; i < n; ++i) sink(*next++, result.row(i));
  }
}

bool Engine::feed(Session& session, std::span<const base::TokenId> tokens,
                  std::span<const std::size_t> wanted, const LogitsSink& sink,
                  const Progress& progress) {
  check_tokens(tokens);
  const bool whole_calls = attention_.mode == model::AttentionMode::kReference;
  const std::size_t slice = whole_calls ? tokens.size() : model::kSliceTokens;
  workspace_.x.grow(std::min(slice, tokens.size()));
  for (std::size_t done = 0; done < tokens.size();) {
    const auto part = tokens.subspan(done, std::min(slice, tokens.size() - done));
    const auto x = workspace_.x.first(part.size());
    model::embed(context_, part, x);
    checkpoint_.release_pages();  // a row of the embedding brings its neighbours into memory
    const bool finished = model::run_blocks(context_, x, session.state, [&](double share) {
      const double n_done = static_cast<double>(done) + share * static_cast<double>(part.size());
      return !progress || progress(n_done / static_cast<double>(tokens.size()));
    });
    if (!finished) return false;
    send_logits(x, session.n_tokens, wanted, sink);
    done += part.size();
    session.n_tokens += part.size();
  }
  return true;
}

std::size_t Engine::bytes_per_token(const Session& session) const {
  std::size_t bytes = weights_.size_bytes + session.state.recurrent_bytes();
  for (const auto& block : session.state.blocks) {
    if (const auto* sparse = std::get_if<model::SparseState>(&block)) {
      bytes += config_.n_head * model::attended_bytes(attention_, sparse->cache.size());
    }
  }
  return bytes;
}

}  // namespace longreach::dist
