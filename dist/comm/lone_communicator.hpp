/// The communicator of a rank that is alone: nothing moves but its part for itself.
#pragma once

#include "dist/comm/communicator.hpp"

namespace longreach::dist {

/// A group of one. It has nobody to send to or receive from.
class LoneCommunicator final : public Communicator {
 public:
  std::size_t rank() const override { return 0; }
  std::size_t size() const override { return 1; }
  std::unique_ptr<Communicator> split(std::size_t color) override;
  void all_gather(std::span<std::byte> all, std::span<const Range> parts) override;
  void all_to_all(std::span<const std::byte> sent, std::span<const Range> sent_parts,
                  std::span<std::byte> received, std::span<const Range> received_parts) override;
  void broadcast(std::span<std::byte> bytes, std::size_t root) override;
  void barrier() override;
  std::unique_ptr<Message> send(std::span<const std::byte> bytes, std::size_t to) override;
  std::unique_ptr<Message> receive(std::span<std::byte> bytes, std::size_t from) override;
};

}  // namespace longreach::dist
