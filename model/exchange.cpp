#include "model/exchange.hpp"

#include "kernels/base/view.hpp"

namespace longreach::model {

std::shared_ptr<float> Exchange::new_chunk(std::size_t owner, std::size_t n_numbers) {
  if (owner != shard().index) return nullptr;
  const auto memory = std::make_shared<base::Buffer<float>>(n_numbers);
  return {memory, memory->data()};
}

}  // namespace longreach::model
