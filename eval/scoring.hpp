/// How right an answer is.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace longreach::eval {

/// How an answer is compared with what was expected. RULER's scores take upper and lower case as
/// equal, in all alphabets, and control characters of an answer as line feeds.
enum class Match {
  kExact,  ///< It is one of the expected texts (case counts): 1, else 0.
  kAny,    ///< It holds at least one of them: 1, else 0. RULER's score of its qa tasks.
  kAll,    ///< The share of them that it holds. RULER's score of all its other tasks.
};

/// The text without blanks and line ends at both ends, as Python's str.strip() leaves it.
std::string_view stripped(std::string_view text);

/// The text in lower case, as Python's str.lower() makes it; bytes that are no UTF-8 become U+FFFD.
std::string lowered(std::string_view text);

/// 0 to 1; 0 when nothing is expected. Blanks at the ends of the answer do not count.
/// Source: RULER, scripts/eval/synthetic/constants.py and scripts/eval/evaluate.py; landmark
/// attention, run_test.py (kExact).
double score(Match match, std::string_view answer, std::span<const std::string> expected);

}  // namespace longreach::eval
