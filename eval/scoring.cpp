#include "eval/scoring.hpp"

#include <algorithm>

namespace longreach::eval {
namespace {

// Beside what isspace() knows, str.strip() takes the four ASCII separators off.
constexpr std::string_view kBlanks = " \t\n\v\f\r\x1c\x1d\x1e\x1f";

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace

std::string_view stripped(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

double score(Match match, std::string_view answer, std::span<const std::string> expected) {
  if (expected.empty()) return 0;
  const std::string_view text = stripped(answer);
  if (match == Match::kExact) {
    return std::ranges::any_of(expected, [&](const auto& e) { return stripped(e) == text; }) ? 1
                                                                                             : 0;
  }
  const std::string lower_text = lower(text);
  const auto n_held = std::ranges::count_if(expected, [&](const std::string& reference) {
    return lower_text.find(lower(reference)) != std::string::npos;
  });
  if (match == Match::kAny) return n_held > 0 ? 1 : 0;
  return static_cast<double>(n_held) / static_cast<double>(expected.size());
}

}  // namespace longreach::eval
