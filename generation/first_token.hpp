/// The token that models know the beginning of a text by, from their training.
#pragma once

#include "kernels/base/types.hpp"

#include <vector>

namespace longreach::generation {

/// Puts it first in a text, unless the text begins with it; returns whether it was put there.
inline bool put_first(std::vector<base::TokenId>& text, base::TokenId token) {
  if (!text.empty() && text.front() == token) return false;
  text.insert(text.begin(), token);
  return true;
}

}  // namespace longreach::generation
