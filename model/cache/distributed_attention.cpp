#include "model/cache/distributed_attention.hpp"

#include "model/cache/gather.hpp"
#include "model/cache/ship.hpp"

namespace longreach::model {
namespace {

bool gathers(const Context& context, const ChunkAttention& attention) {
  if (context.exchange.shard().count == 1) return true;
  switch (context.attention.exchange) {
    case ExchangeWay::kShip:
      return false;
    case ExchangeWay::kGather:
      return true;
    case ExchangeWay::kAuto:
      break;
  }
  return gathering_moves_less(attention);
}

}  // namespace

void attend_chunks(Context& context, base::MatView<const float> q, base::MatView<float> y) {
  ChunkAttention attention(context, q);
  if (gathers(context, attention)) {
    gather(attention);
  } else {
    ship(attention);
  }
  attention.finish(y);
}

}  // namespace longreach::model
