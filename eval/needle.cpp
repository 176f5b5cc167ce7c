#include "eval/needle.hpp"

#include "eval/generate.hpp"
#include "eval/words.hpp"
#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <unordered_set>
#include <utility>

namespace longreach::eval {
namespace {

constexpr std::size_t kNeedleTokens = 128;
constexpr std::size_t kUuidBytes = 36;
/// Once in the needle and twice in the question.
constexpr std::size_t kKeysInPrompt = 3;
/// Of the adjectives with nouns; drawing new ones gets slow near all of them.
constexpr std::size_t kMostDifferentWords = 200'000;

/// What keys and values are, by the origin's plural.
enum class Kind { kWords, kNumbers, kUuids };

enum class Haystack { kNoise, kNeedles };

struct NeedleKind {
  std::string_view name;
  Haystack haystack;
  Kind key, value;
};

std::string_view plural(Kind kind) {
  switch (kind) {
    case Kind::kWords:
      return "words";
    case Kind::kNumbers:
      return "numbers";
    case Kind::kUuids:
      return "uuids";
  }
  return {};
}

std::string draw(Random& random, Kind kind) {
  switch (kind) {
    case Kind::kWords:
      return random_compound(random);
    case Kind::kNumbers:
      return std::to_string(random.between(1'000'000, 9'999'999));
    case Kind::kUuids: {  // version 4, variant 1
      const std::uint64_t high = (random.bits() & ~0xf000ULL) | 0x4000;
      const std::uint64_t low = (random.bits() >> 2) | 0x8000000000000000;
      return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, high >> 16 & 0xffff,
                         high & 0xffff, low >> 48, low & 0xffffffffffff);
    }
  }
  return {};
}

struct Needle {
  std::string key, value;
};

/// Everything before the question at the end, and the needle that is asked for.
struct Context {
  std::string text;
  Needle needle;
  std::size_t needle_index = 0;  ///< Sentences before it.
  std::size_t needle_bytes = 0;  ///< Text before it.
};

class NeedleTask final : public Task {
 public:
  NeedleTask(const NeedleKind& kind, const TaskOptions& options, const model::Tokenizer& tokenizer)
      : Task(std::string(kind.name),
             grid_specs(options, kind.haystack == Haystack::kNeedles ? Common::kText
                                                                     : Common::kUntilNeedle)),
        kind_(kind),
        seed_(options.seed),
        n_samples_(options.n_samples),
        n_new_(options.n_new.value_or(kNeedleTokens)),
        stop_text_(options.stop_text),
        wants_evidence_(options.wants_evidence),
        tokenizer_(tokenizer) {
    // Texts that are to share their beginning must have one size, whichever key is asked for.
    if (kind.haystack == Haystack::kNeedles && options.n_depths == 0) return;
    const std::size_t n_key = most_key_tokens();
    for (const QuestionSpec& spec : specs()) {
      if (sizes_.contains(spec.length)) continue;
      sizes_[spec.length] = fitting_size(
          spec, [&](const Context& context) { return context.text + closing({}); },
          kKeysInPrompt * n_key);
    }
  }

  Question question(std::size_t index) const override {
    const QuestionSpec& spec = specs()[index];
    const auto size = sizes_.find(spec.length);
    const std::size_t n_sentences = size != sizes_.end()
                                        ? size->second
                                        : fitting_size(
                                              spec,
                                              [this](const Context& context) {
                                                return context.text + closing(context.needle.key);
                                              },
                                              0);
    const Context context = make_context(spec, n_sentences);
    Question question;
    question.prompt = tokenizer_.encode(context.text + closing(context.needle.key));
    if (spec.depth) {
      const bool one_text = kind_.haystack == Haystack::kNeedles;
      question.n_shared = shared_tokens(tokenizer_, question.prompt,
                                        one_text ? context.text.size() : context.needle_bytes);
    }
    if (wants_evidence_) {
      question.needle = tokens_holding(tokenizer_, question.prompt, context.needle_bytes,
                                       sentence(context.needle).size());
    }
    question.depth_percent =
        spec.depth.value_or(Depth{context.needle_index, n_sentences}).percent();
    question.asked = ToAnswer{n_new_, stop_text_, {context.needle.value}, Match::kAll};
    return question;
  }

 private:
  using Render = std::function<std::string(const Context&)>;

  /// How many sentences beside the needle the length holds, when n_reserved tokens are left free.
  std::size_t fitting_size(const QuestionSpec& spec, const Render& render,
                           std::size_t n_reserved) const {
    return largest_fitting(*this, spec.length, 1, [&](std::size_t n_sentences) {
      const std::string prompt = render(make_context(spec, n_sentences));
      return tokenizer_.encode(prompt).size() + n_reserved + n_new_;
    });
  }

  /// More tokens than any key has.
  std::size_t most_key_tokens() const {
    if (kind_.key == Kind::kUuids) return kUuidBytes;
    const auto most = [this](std::span<const std::string_view> words) {
      std::size_t n = 0;
      for (const auto word : words) n = std::max(n, tokenizer_.encode(word).size());
      return n;
    };
    return most(adjectives()) + 1 + most(nouns());
  }

  std::string opening() const {
    return fmt::format(
        "A special magic {} is hidden within the following text. Make sure to memorize it. I will "
        "quiz you about the {} afterwards.\n",
        singular(), singular());
  }

  std::string closing(std::string_view key) const {
    return fmt::format(
        "\nWhat is the special magic {0} for {1} mentioned in the provided text? The special magic "
        "{0} for {1} mentioned in the provided text is",
        singular(), key);
  }

  std::string_view singular() const {
    std::string_view name = plural(kind_.value);
    name.remove_suffix(1);
    return name;
  }

  std::string sentence(const Needle& needle) const {
    return fmt::format("One of the special magic {} for {} is: {}.", plural(kind_.value),
                       needle.key, needle.value);
  }

  Needle draw_needle(Random& random) const {
    std::string key = draw(random, kind_.key);
    return {std::move(key), draw(random, kind_.value)};
  }

  /// The needle among n_sentences others.
  Context make_context(const QuestionSpec& spec, std::size_t n_sentences) const {
    if (kind_.haystack == Haystack::kNeedles && spec.depth) {
      // The text belongs to the length; which of its needles is asked for, to the question.
      Random random(name(), {seed_, spec.length});
      const std::size_t n_questions = spec.depth->count * n_samples_;
      const std::size_t number = spec.depth->index * n_samples_ + spec.sample;
      return fill(random, n_sentences, (n_sentences + 1) * number / n_questions);
    }
    Random random = question_random(*this, spec, seed_);
    const std::size_t anywhere = random.below(n_sentences);
    return fill(random, n_sentences,
                spec.depth ? n_sentences * spec.depth->index / spec.depth->count : anywhere);
  }

  /// Writes the sentences. All keys differ, lest a question have two answers.
  Context fill(Random& random, std::size_t n_sentences, std::size_t needle_index) const {
    Context context{opening(), {}, needle_index, 0};
    std::unordered_set<std::string> keys;
    const auto new_needle = [&] {
      Needle needle = draw_needle(random);
      while (!keys.insert(needle.key).second) needle = draw_needle(random);
      return needle;
    };
    if (kind_.haystack == Haystack::kNeedles && kind_.key == Kind::kWords &&
        n_sentences > kMostDifferentWords) {
      base::input_error("--lengths: {} has words for {} needles, a length needs {}", name(),
                        kMostDifferentWords, n_sentences);
    }
    for (std::size_t i = 0; i <= n_sentences; ++i) {
      if (i > 0) context.text += '\n';
      if (i == needle_index) {
        context.needle_bytes = context.text.size();
        context.needle = new_needle();
        context.text += sentence(context.needle);
      } else {
        context.text +=
            kind_.haystack == Haystack::kNoise ? std::string(kGarbage) : sentence(new_needle());
      }
    }
    return context;
  }

  NeedleKind kind_;
  std::uint64_t seed_;
  std::size_t n_samples_;
  std::size_t n_new_;
  std::string stop_text_;
  bool wants_evidence_;
  const model::Tokenizer& tokenizer_;
  std::map<std::size_t, std::size_t> sizes_;  // sentences by length, where all texts have as many
};

}  // namespace

std::unique_ptr<Task> make_niah_single_1(const TaskOptions& options,
                                         const model::Tokenizer& tokenizer) {
  const NeedleKind kind{"niah_single_1-like", Haystack::kNoise, Kind::kWords, Kind::kNumbers};
  return std::make_unique<NeedleTask>(kind, options, tokenizer);
}

std::unique_ptr<Task> make_niah_multikey_2(const TaskOptions& options,
                                           const model::Tokenizer& tokenizer) {
  const NeedleKind kind{"niah_multikey_2-like", Haystack::kNeedles, Kind::kWords, Kind::kNumbers};
  return std::make_unique<NeedleTask>(kind, options, tokenizer);
}

std::unique_ptr<Task> make_niah_multikey_3(const TaskOptions& options,
                                           const model::Tokenizer& tokenizer) {
  const NeedleKind kind{"niah_multikey_3", Haystack::kNeedles, Kind::kUuids, Kind::kUuids};
  return std::make_unique<NeedleTask>(kind, options, tokenizer);
}

}  // namespace longreach::eval
