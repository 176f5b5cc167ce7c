/// Server-sent events, as a client reads them.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace longreach::serve {

/// Finds the events of a stream whose bytes come in pieces. Source: the WHATWG's HTML standard,
/// section 9.2.6 (interpreting an event stream). Fields other than `data`, and comments, are passed
/// over.
class EventStream {
 public:
  /// Takes the next bytes and calls `take` with the data of each event that they complete. Errors:
  /// InputError, if an event has more than kMostEventBytes; those of `take`.
  void push(std::string_view bytes, const std::function<void(std::string_view data)>& take);

  static constexpr std::size_t kMostEventBytes = std::size_t{1} << 24;

 private:
  void take_line(const std::function<void(std::string_view data)>& take);

  std::string line_;  ///< What of a line has come.
  std::string data_;  ///< Of the event: a line end after each of its lines.
  bool after_return_ = false;
};

}  // namespace longreach::serve
