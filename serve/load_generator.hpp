/// Clients of a running server, of any program that has the OpenAI interface: how fast does it
/// answer them?
#pragma once

#include "serve/http_client.hpp"
#include "serve/streamed_answer.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace longreach::serve {

/// What the clients ask. Prompts are random token ids, other ones for each request, after a prefix
/// that all share; answers are greedy and do not end before their length.
struct Load {
  std::string model = {};       ///< Named in requests; empty: none is.
  std::size_t n_requests = 0;   ///< In all.
  std::size_t n_prefix = 0;     ///< Tokens that all prompts begin with.
  std::size_t n_prompt = 1;     ///< Tokens of a prompt after those.
  std::size_t n_generated = 1;  ///< Tokens of an answer.
  std::size_t vocab_size = 0;   ///< Prompts are of tokens 1 to vocab_size - 1; 2 at least.
  double request_rate =
      0;  ///< Requests a second, at times of a Poisson process; infinite: all at once.
  std::size_t max_running = 0;  ///< At once; what comes then waits; 0: any number.
  double share_abandoned = 0;   ///< Of clients that leave after some tokens.
  std::uint64_t seed = 0;       ///< Of prompts, times and who leaves.
};

/// How far it has come.
struct LoadProgress {
  std::size_t n_ended = 0;   ///< Requests.
  std::size_t n_chunks = 0;  ///< Of answers.
};

/// What came of it.
struct LoadResult {
  double seconds = 0;                ///< From the first request to the last end.
  std::vector<AnswerTimes> answers;  ///< That are complete.
  std::size_t n_abandoned = 0;
  std::size_t n_failed = 0;
  std::string first_failure;  ///< A sentence; empty: there was none.
};

/// Sends all requests and takes their answers, until `goes_on`, which is asked several times a
/// second, says no: what runs then is left.
LoadResult run_load(HttpClient& client, const Load& load,
                    const std::function<bool(const LoadProgress&)>& goes_on);

}  // namespace longreach::serve
