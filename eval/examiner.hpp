/// Asks a model questions, several at once.
#pragma once

#include "dist/engine/engine.hpp"
#include "eval/task.hpp"
#include "generation/generator.hpp"
#include "model/schema/config.hpp"
#include "model/tokenizer/tokenizer.hpp"

#include <cstddef>
#include <functional>
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
  /// Which of the passages that the answer looked at, counted from 1, is the first that holds any
  /// of the needle; 0 if none does. Of questions with a needle.
  std::size_t needle_passage = 0;
};

/// Takes what comes of a question.
struct Listener {
  std::function<void(double share_read)> progress;  ///< Of the prompt; called now and then.
  std::function<void(const Outcome&)> done;         ///< Called once, last.
};

/// One model and its vocabulary. An outcome depends on the question alone, not on those before it
/// or beside it. Prompts that begin alike are read from where they part, as far as the generator's
/// options give memory for that.
class Examiner {
 public:
  /// The arguments by reference must outlive the examiner, which has the engine for itself.
  Examiner(dist::Engine& engine, const model::ModelConfig& config,
           const model::Tokenizer& tokenizer, const generation::GeneratorOptions& options);

  /// How many more questions would be under way at once.
  std::size_t n_room() const { return n_at_once_ - n_under_way(); }
  /// Questions without an outcome.
  std::size_t n_under_way() const { return generator_.n_requests(); }

  /// Takes a question; its outcome comes during a later step. Errors: InputError for a prompt with
  /// tokens that the model lacks.
  /// Requires: room for it.
  void ask(const Question& question, Listener listener);

  /// Runs one step of all questions under way. Returns false when `progress` stopped it; nothing
  /// can be asked after that. Errors: InputError for logits that are no numbers; those of
  /// listeners.
  bool step(const dist::Progress& progress) { return generator_.step(progress); }

  /// Tokens the engine has read so far, prompts and answers; shared ones once.
  std::size_t n_tokens_read() const { return generator_.n_tokens_read(); }

 private:
  std::size_t n_at_once_;
  generation::Generator generator_;
};

/// The hash of the logits after a few fixed tokens: two models, ways of keeping weights or sets of
/// instructions that differ in any bit there have another one. Takes a fraction of a second.
std::string model_fingerprint(dist::Engine& engine);

}  // namespace longreach::eval
