#include "dist/comm/agreement.hpp"

#include "dist/comm/gather_texts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <vector>

namespace longreach::dist {
namespace {

/// Where and why a phase failed.
struct Failure {
  std::size_t rank;
  std::string host, text;
};

/// What went wrong in the phase, if anything.
std::optional<std::string> failure_of(const std::function<void()>& phase) {
  try {
    phase();
    return std::nullopt;
  } catch (const std::bad_alloc&) {
    return "not enough memory";
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// One sentence for all failures, of which there is at least one.
std::string sentence(const std::vector<Failure>& failures, std::size_t n_ranks) {
  const Failure& first = failures.front();
  const bool all_alike =
      failures.size() == n_ranks && std::ranges::all_of(failures, [&first](const Failure& failure) {
        return failure.text == first.text;
      });
  if (all_alike) return first.text;
  const std::size_t n_more = failures.size() - 1;
  return fmt::format(
      "rank {} on {}: {}{}", first.rank, first.host, first.text,
      n_more == 0 ? "" : fmt::format(" (and {} more rank{})", n_more, n_more == 1 ? "" : "s"));
}

}  // namespace

void agree(Communicator& communicator, const std::string& host,
           const std::function<void()>& phase) {
  if (communicator.size() == 1) return phase();
  const std::optional<std::string> failure = failure_of(phase);
  // Host names hold no zeros; a rank that did not fail says nothing.
  const std::vector<std::string> texts =
      gather_texts(communicator, failure ? host + '\0' + *failure : "");
  std::vector<Failure> failures;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    const std::string& text = texts[rank];
    const std::size_t at = text.find('\0');
    if (!text.empty()) failures.push_back({rank, text.substr(0, at), text.substr(at + 1)});
  }
  if (!failures.empty()) throw AgreedError(sentence(failures, communicator.size()));
}

}  // namespace longreach::dist
