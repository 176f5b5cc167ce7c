#include "dist/comm/gather_texts.hpp"

#include "dist/comm/gather_values.hpp"

#include <algorithm>

namespace longreach::dist {

std::vector<std::string> gather_texts(Communicator& communicator, const std::string& own) {
  std::vector<Range> parts;
  std::size_t end = 0;
  for (const std::size_t length : gather_values(communicator, own.size())) {
    parts.push_back({end, end + length});
    end += length;
  }
  std::string all(end, '\0');
  const Range own_part = parts[communicator.rank()];
  std::ranges::copy(own, all.begin() + static_cast<std::ptrdiff_t>(own_part.begin));
  if (end > 0) communicator.all_gather(std::as_writable_bytes(std::span(all)), parts);

  std::vector<std::string> texts;
  for (const Range part : parts) texts.push_back(all.substr(part.begin, part.size()));
  return texts;
}

}  // namespace longreach::dist
