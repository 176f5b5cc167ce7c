#include "dist/gather_texts.hpp"

#include <algorithm>

namespace longreach::dist {

std::vector<std::string> gather_texts(Communicator& communicator, const std::string& own) {
  const std::size_t n_ranks = communicator.size(), rank = communicator.rank();
  std::vector<std::size_t> lengths(n_ranks);
  lengths[rank] = own.size();
  std::vector<Range> parts;
  for (std::size_t r = 0; r < n_ranks; ++r) {
    parts.push_back({r * sizeof(std::size_t), (r + 1) * sizeof(std::size_t)});
  }
  communicator.all_gather(std::as_writable_bytes(std::span(lengths)), parts);

  std::size_t end = 0;
  for (std::size_t r = 0; r < n_ranks; ++r) {
    parts[r] = {end, end + lengths[r]};
    end += lengths[r];
  }
  std::string all(end, '\0');
  std::ranges::copy(own, all.begin() + static_cast<std::ptrdiff_t>(parts[rank].begin));
  if (end > 0) communicator.all_gather(std::as_writable_bytes(std::span(all)), parts);

  std::vector<std::string> texts;
  for (const Range part : parts) texts.push_back(all.substr(part.begin, part.size()));
  return texts;
}

}  // namespace longreach::dist
