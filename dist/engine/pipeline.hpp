/// How orders and slices pass through the stages.
///
/// The leader gives an order to the shards of the first stage; from there it travels from shard i
/// of a stage to shard i of the next one, in one message with the rows it is about. A stage
/// receives the next slice while it computes one, and sends the last one meanwhile, so all stages
/// work at once.
#pragma once

#include "dist/engine/logits_return.hpp"
#include "dist/engine/slice.hpp"
#include "dist/engine/stage.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace longreach::dist {

/// One rank's place in the pipeline.
class Pipeline {
 public:
  /// All arguments must outlive it.
  Pipeline(GridPosition& grid_position, Stage& stage, LogitsReturn& logits, Recorder& recorder);

  /// Carries an order out here and passes it on; on the leader. Returns false when `progress`
  /// stopped it, which only a grid of one rank may. Collective: the shards of the first stage.
  bool give(const FirstOrder& order, const model::Progress& progress);

  /// Carries orders out until the one to stop; on all ranks but the leader.
  /// `act` is called for orders that are not about a session.
  void follow(const std::function<void(const Order&)>& act);

  /// Waits until everything has left.
  void finish();
  /// Sent so far: slices to the next stage, and orders from the leader to its shards.
  std::uint64_t sent_bytes() const { return sent_bytes_; }

 private:
  /// A message between stages: an order, then rows [n, C], then first values [n, own columns].
  class Parcel {
   public:
    Parcel() = default;
    explicit Parcel(std::size_t n_bytes) : bytes_(n_bytes) {}
    std::span<std::byte> all() { return bytes_.span(); }
    Order& order() { return *reinterpret_cast<Order*>(bytes_.data()); }
    base::MatView<float> rows(std::size_t n_embd);
    base::MatView<float> v_first(std::size_t n_embd, std::size_t n_columns);
    /// Bytes in use.
    std::size_t size(std::size_t n_embd, std::size_t n_columns);

    std::unique_ptr<Message> message;

   private:
    base::Buffer<std::byte> bytes_;
  };

  /// Next order, from the leader or from the stage before.
  FirstOrder next_first_order();
  Parcel& next_parcel();
  void receive_into(Parcel& parcel);

  /// Carries out an order whose rows, if any, are in place.
  bool carry_out(const Order& order, const model::Progress& progress);
  bool read(const Order& order, const model::Progress& progress);
  /// Rows of the call that the order is about.
  void pass_on(const Order& order);
  void give_logits(const Order& order);
  /// Waits for a message; the leader hands out logits meanwhile, or the stages would wait for each
  /// other in a circle.
  void wait_for(Message& message);

  GridPosition& grid_position_;
  Stage& stage_;
  LogitsReturn& logits_;
  Recorder& recorder_;
  std::vector<Order> call_;  ///< The slices of the call that is being put together.
  std::array<Parcel, 2> coming_, leaving_;
  std::size_t next_coming_ = 0, next_leaving_ = 0;
  std::uint64_t sent_bytes_ = 0;
};

}  // namespace longreach::dist
