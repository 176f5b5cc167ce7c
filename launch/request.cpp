#include "launch/request.hpp"

#include "generation/first_token.hpp"
#include "launch/token_file.hpp"

#include <utility>

namespace longreach::launch {
namespace {

generation::SamplerOptions sampler_of(const ContinuationOptions& options, std::uint64_t seed) {
  generation::SamplerOptions sampler = options.sampler;
  // Greedy is meant as the plain best token unless penalties are asked for.
  const bool greedy = sampler.temperature == 0;
  sampler.presence = options.presence_penalty.value_or(greedy ? 0 : sampler.presence);
  sampler.frequency = options.frequency_penalty.value_or(greedy ? 0 : sampler.frequency);
  sampler.seed = seed;
  return sampler;
}

}  // namespace

void check_vocabulary(const ContinuationOptions& options, std::size_t vocab_size) {
  check_vocabulary(options.stop_tokens, vocab_size, "--stop-token");
  check_vocabulary(options.sampler.banned, vocab_size, "--ban-token");
}

generation::Request request_of(const ContinuationOptions& options,
                               std::vector<base::TokenId> prompt, std::uint64_t seed) {
  generation::Request request;
  request.prompt = std::move(prompt);
  request.n_new = options.n_tokens;
  request.sampler = sampler_of(options, seed);
  request.stop_strings = options.stop_strings;
  request.stop_tokens = options.stop_tokens;
  request.n_top_logprobs = options.n_top_logprobs;
  request.hashes_logits = true;
  return request;
}

void begin_text(std::vector<base::TokenId>& tokens, std::optional<base::TokenId> bos,
                std::size_t vocab_size) {
  if (!bos) return;
  check_vocabulary({&*bos, 1}, vocab_size, "--bos");
  generation::put_first(tokens, *bos);
}

}  // namespace longreach::launch
