#include "generation/logprobs.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace longreach::generation {

Logprobs logprobs_of(std::span<const float> logits, base::TokenId token, std::size_t n_top) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  const double log_sum = largest + std::log(sum);
  const auto of = [&](base::TokenId id) {
    return TokenLogprob{id, static_cast<double>(logits[static_cast<std::size_t>(id)]) - log_sum};
  };
  Logprobs result{of(token), {}};
  if (n_top == 0) return result;
  std::vector<base::TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), base::TokenId{0});
  n_top = std::min(n_top, ids.size());
  const auto number = [&](base::TokenId id) {  // no NaN, which has no order
    const float logit = logits[static_cast<std::size_t>(id)];
    return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
  };
  const auto is_better = [&](base::TokenId a, base::TokenId b) {
    const float x = number(a), y = number(b);
    return x > y || (x == y && a < b);
  };
  const auto end = ids.begin() + static_cast<std::ptrdiff_t>(n_top);
  std::partial_sort(ids.begin(), end, ids.end(), is_better);
  for (auto id = ids.begin(); id != end; ++id) result.top.push_back(of(*id));
  return result;
}

}  // namespace longreach::generation
