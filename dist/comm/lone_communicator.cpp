#include "dist/comm/lone_communicator.hpp"

#include <algorithm>

namespace longreach::dist {

std::unique_ptr<Communicator> LoneCommunicator::split(std::size_t) {
  return std::make_unique<LoneCommunicator>();
}

void LoneCommunicator::all_gather(std::span<std::byte>, std::span<const Range>) {}

void LoneCommunicator::all_to_all(std::span<const std::byte> sent,
                                  std::span<const Range> sent_parts, std::span<std::byte> received,
                                  std::span<const Range> received_parts) {
  std::ranges::copy(sent.subspan(sent_parts[0].begin, sent_parts[0].size()),
                    received.begin() + static_cast<std::ptrdiff_t>(received_parts[0].begin));
}

void LoneCommunicator::broadcast(std::span<std::byte>, std::size_t) {}

void LoneCommunicator::barrier() {}

std::unique_ptr<Message> LoneCommunicator::send(std::span<const std::byte>, std::size_t) {
  throw CommunicationError("send", "there is no other rank");
}

std::unique_ptr<Message> LoneCommunicator::receive(std::span<std::byte>, std::size_t) {
  throw CommunicationError("receive", "there is no other rank");
}

}  // namespace longreach::dist
