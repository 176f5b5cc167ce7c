/// Feeds bytes to what reads streamed answers. Nothing but InputError may come out; the events of a
/// stream are the same in whatever pieces it comes.
#include "kernels/base/error.hpp"
#include "serve/event_stream.hpp"
#include "serve/streamed_answer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace longreach;

namespace {

std::vector<std::string> events_of(std::string_view text, std::size_t n_bytes) {
  serve::EventStream stream;
  std::vector<std::string> events;
  for (; !text.empty(); text.remove_prefix(std::min(n_bytes, text.size()))) {
    stream.push(text.substr(0, n_bytes), [&](std::string_view data) { events.emplace_back(data); });
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto events = events_of(body, size + 1);
  for (const std::size_t n_bytes : {1, 3}) LR_CHECK(events_of(body, n_bytes) == events);
  try {
    serve::StreamedAnswer answer;
    answer.push(body, 1);
    const serve::AnswerTimes times = answer.times();
    LR_CHECK(times.n_generated > 0 && times.intervals.size() < times.n_generated);
  } catch (const base::InputError&) {
  }
  serve::refusal_text(500, body);
  return 0;
}
