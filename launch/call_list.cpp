#include "launch/call_list.hpp"

#include "kernels/base/error.hpp"
#include "launch/options/parse_number.hpp"

#include <algorithm>

namespace longreach::launch {
namespace {

std::string_view without_blanks_around(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

/// The parts between commas; one empty part for empty text.
std::vector<std::string_view> split_at_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t comma = text.find(',');
    parts.push_back(without_blanks_around(text.substr(0, comma)));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

std::vector<std::size_t> parse_calls(std::string_view text, std::size_t n_tokens) {
  std::vector<std::size_t> calls;
  std::size_t n_left = n_tokens;
  for (const std::string_view item : split_at_commas(text)) {
    const std::size_t star = item.find('*');
    const auto length = parse_number<std::size_t>(item.substr(0, star));
    const auto times = star == std::string_view::npos
                           ? std::size_t{1}
                           : parse_number<std::size_t>(item.substr(star + 1));
    if (!length || *length == 0 || !times || *times == 0) {
      base::input_error("--calls: expected lengths like 100 or 1*20, found \"{}\"", item);
    }
    if (*times > n_left / *length) {
      base::input_error("--calls: \"{}\" asks for more tokens than the {} there are", text,
                        n_tokens);
    }
    n_left -= *length * *times;
    calls.insert(calls.end(), *times, *length);
  }
  return calls;
}

std::vector<std::size_t> parse_positions(std::string_view text, std::size_t n_fed) {
  std::vector<std::size_t> positions;
  for (const std::string_view item : split_at_commas(text)) {
    const auto position = parse_number<std::size_t>(item);
    if (!position) base::input_error("--positions: expected numbers like 0,5, found \"{}\"", item);
    if (*position >= n_fed) {
      base::input_error("--positions: expected positions below the {} fed tokens, found {}", n_fed,
                        *position);
    }
    positions.push_back(*position);
  }
  return positions;
}

}  // namespace longreach::launch
