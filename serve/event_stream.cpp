#include "serve/event_stream.hpp"

#include "kernels/base/error.hpp"

#include <utility>

namespace longreach::serve {

void EventStream::push(std::string_view bytes,
                       const std::function<void(std::string_view data)>& take) {
  while (!bytes.empty()) {
    // Lines end with \n, \r or both, which may come in two pieces.
    if (std::exchange(after_return_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      continue;
    }
    const std::size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + data_.size() + piece.size() > kMostEventBytes) {
      base::input_error("an event of more than {} bytes", kMostEventBytes);
    }
    line_ += piece;
    if (end == bytes.npos) return;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    take_line(take);
  }
}

void EventStream::take_line(const std::function<void(std::string_view data)>& take) {
  const std::string line = std::exchange(line_, {});
  if (line.empty()) {
    std::string data = std::exchange(data_, {});
    if (data.empty()) return;
    data.pop_back();
    return take(data);
  }
  std::string_view value = line;
  const std::size_t colon = value.find(':');
  if (value.substr(0, colon) != "data") return;
  value.remove_prefix(colon == value.npos ? value.size() : colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  data_ += value;
  data_ += '\n';
}

}  // namespace longreach::serve
