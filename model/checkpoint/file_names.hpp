/// By which names folders are searched for checkpoints.
#pragma once

#include <string_view>

namespace longreach::model {

inline bool is_safetensors_name(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".st");
}

inline bool is_checkpoint_name(std::string_view name) {
  return is_safetensors_name(name) || name.ends_with(".pth") || name.ends_with(".gguf");
}

}  // namespace longreach::model
