/// How right an answer is.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace longreach::eval {

/// How an answer is compared with what was expected. Letters count as equal in upper and lower case
/// where they are ASCII, as does the origin for all letters.
enum class Match {
  kExact,  ///< It is one of the expected texts (case counts): 1, else 0.
  kAny,    ///< It holds at least one of them: 1, else 0. RULER's score of its qa tasks.
  kAll,    ///< The share of them that it holds. RULER's score of all its other tasks.
};

/// The text without blanks and line ends at both ends, as Python's str.strip() for ASCII.
std::string_view stripped(std::string_view text);

/// 0 to 1; 0 when nothing is expected. Blanks at the ends of the answer do not count.
/// Source: RULER, scripts/eval/synthetic/constants.py; landmark attention, run_test.py (kExact).
double score(Match match, std::string_view answer, std::span<const std::string> expected);

}  // namespace longreach::eval
