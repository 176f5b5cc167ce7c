#include "serve/event_stream.hpp"

#include "kernels/base/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::serve {
namespace {

using Events = std::vector<std::string>;

/// The events of a text that comes in pieces of so many bytes.
Events events_of(std::string_view text, std::size_t n_bytes) {
  EventStream stream;
  Events events;
  for (; !text.empty(); text.remove_prefix(std::min(n_bytes, text.size()))) {
    stream.push(text.substr(0, n_bytes), [&](std::string_view data) { events.emplace_back(data); });
  }
  return events;
}

void expect_events(std::string_view text, const Events& expected) {
  for (const std::size_t n_bytes : {1, 2, 3, 7, 1000}) {
    EXPECT_EQ(events_of(text, n_bytes), expected) << text << " by " << n_bytes;
  }
}

TEST(EventStream, FindsTheDataOfEvents) {
  expect_events("data: a\n\ndata: b\n\n", {"a", "b"});
  expect_events("data:a\n\ndata:  b\n\n", {"a", " b"});
  expect_events("data: a\ndata\ndata: c\n\n", {"a\n\nc"});
  expect_events("data:\n\n", {""});
  expect_events("", {});
}

TEST(EventStream, LinesEndInThreeWays) {
  expect_events("data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\r\n\n", {"a", "b", "c", "d"});
  expect_events("data: a\r\n\r\n\r\n\r\ndata: b\n\n", {"a", "b"});
}

TEST(EventStream, PassesOverWhatIsNoData) {
  expect_events(": reading\n\nevent: x\nid: 3\ndata: a\nretry: 5\nother\n\nevent: y\n\n", {"a"});
  expect_events("datax: a\n\n data: b\n\n", {});
}

TEST(EventStream, AnEventThatDoesNotEndIsNone) {
  expect_events("data: a\n\ndata: b\n", {"a"});
  expect_events("data: a\n\ndata: b", {"a"});
}

TEST(EventStream, AnEventHasALargestSize) {
  const std::string piece(EventStream::kMostEventBytes / 4, 'x');
  for (const std::string& line : {piece, "data: " + piece.substr(6) + "\n"}) {
    EventStream stream;
    const auto take = [](std::string_view) { FAIL(); };
    for (int i = 0; i < 4; ++i) stream.push(line.substr(0, line.size() - 1), take);
    EXPECT_THROW(stream.push("yyyyyyyy", take), base::InputError);
  }
}

}  // namespace
}  // namespace longreach::serve
