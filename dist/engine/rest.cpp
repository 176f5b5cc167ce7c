#include "dist/engine/rest.hpp"

#include <chrono>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

namespace longreach::dist {

void Rest::wait_until_woken() {
  std::byte nothing{};
  const auto message = ranks_->receive({&nothing, 1}, 0);
  while (!message->done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void Rest::wake() {
  const std::byte nothing{};
  std::vector<std::unique_ptr<Message>> messages;
  for (std::size_t rank = 1; rank < ranks_->size(); ++rank) {
    messages.push_back(ranks_->send({&nothing, 1}, rank));
  }
  for (const auto& message : messages) message->wait();
}

}  // namespace longreach::dist
