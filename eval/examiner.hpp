/// Asks a model questions.
#pragma once

#include "dist/engine/engine.hpp"
#include "eval/task.hpp"
#include "generation/sampler.hpp"
#include "model/schema/config.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace longreach::eval {

/// What a model said to a question.
struct Outcome {
  std::string answer;          ///< Without blanks at its ends; empty where none was asked for.
  std::vector<double> losses;  ///< Of every part between two bounds, in nats a token.
  /// SHA-256 of the logits that decided: of every generated token's, or every prediction's;
  /// float32, little endian, in order.
  std::string logits_sha256;
};

/// Whether prompts that begin alike are read from where they part.
enum class Sharing {
  kPrefixes,  ///< One session is kept, at Question::n_shared of the last prompt that had one.
  kNone,      ///< For attention that depends on how a prompt is split into calls (mode reference).
};

/// One model and its vocabulary. An outcome depends on the question alone, not on those before it.
class Examiner {
 public:
  /// Engine and tokenizer must outlive the examiner.
  Examiner(dist::Engine& engine, const model::ModelConfig& config,
           const model::Tokenizer& tokenizer, Sharing sharing);

  /// Nothing when `progress` (the share of the question's tokens read so far) stopped it.
  /// Errors: InputError for a prompt with tokens that the model lacks, or logits that are no
  /// numbers.
  std::optional<Outcome> ask(const Question& question, const dist::Progress& progress);

  /// Tokens the engine has read so far, prompts and answers; shared ones once.
  std::size_t n_tokens_read() const { return n_tokens_read_; }

 private:
  std::optional<Outcome> answer(const Question& question, const ToAnswer& asked,
                                const dist::Progress& progress);
  std::optional<Outcome> predict(const Question& question, const ToPredict& asked,
                                 const dist::Progress& progress);
  /// A session that has read the prompt; the logits of `wanted` (not empty) go to the sink.
  std::optional<dist::Session> read(const Question& question, std::span<const std::size_t> wanted,
                                    const dist::LogitsSink& sink, const dist::Progress& progress);

  /// The session that prompts with these first tokens begin from.
  struct Kept {
    std::vector<base::TokenId> tokens;
    dist::Session session;
  };

  /// Where to begin a prompt of which the logits of position `first_wanted` are needed.
  dist::Session begin(const Question& question, std::size_t first_wanted);

  dist::Engine& engine_;
  const model::Tokenizer& tokenizer_;
  base::TokenId end_token_;
  Sharing sharing_;
  generation::Sampler greedy_;
  std::optional<Kept> kept_;
  std::size_t n_tokens_read_ = 0;
};

/// The hash of the logits after a few fixed tokens: two models, ways of keeping weights or sets of
/// instructions that differ in any bit there have another one. Takes a fraction of a second.
std::string model_fingerprint(dist::Engine& engine);

}  // namespace longreach::eval
