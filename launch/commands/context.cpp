#include "launch/commands/context.hpp"

#include "dist/context/context_part.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "launch/open_model.hpp"
#include "launch/saved_context.hpp"
#include "launch/standard_streams.hpp"

#include <fmt/format.h>

namespace longreach::launch {
namespace {

int inspect(const dist::ContextDirectory& context) {
  std::string text =
      fmt::format("{}: {} tokens\n", base::utf8_name(context.path().string()), context.n_tokens());
  for (const auto& [name, value] : context.settings()) {
    text += fmt::format("  {} {}\n", name, value);
  }
  if (const auto& parent = context.parent()) {
    text += fmt::format("goes on after the first {} tokens of {}\n", parent->state.n_tokens,
                        base::utf8_name(parent->directory.string()));
  }
  text += "states after tokens:";
  for (const dist::SavedState& state : context.states()) text += fmt::format(" {}", state.n_tokens);
  write_output(text + "\n");
  return 0;
}

dist::ContextPart whole_part(const dist::ContextDirectory& context, const OpenedModel& opened) {
  return {context.folders(),
          opened.config,
          opened.engine_options.attention,
          {0, opened.config.execution_order().size()},
          {}};
}

int verify(const ContextOptions& options) {
  const auto context = dist::ContextDirectory::open(options.context);
  const OpenedModel opened = open_model(options.model);
  context.require(context_settings(opened, nullptr, true));
  static_cast<void>(context.tokens());  // compares them with their checksum
  dist::ContextPart part = whole_part(context, opened);
  for (const dist::SavedState& state : context.states()) part.verify_state(state.n_tokens);
  part.verify_chunks(context.n_tokens());
  write_output(fmt::format("{}: whole\n", base::utf8_name(options.context.string())));
  return 0;
}

int pack(const ContextOptions& options) {
  const std::string name = base::utf8_name(options.context.string());
  if (!dist::ContextDirectory::exists(options.context)) {
    base::input_error("{}: expected a context", name);
  }
  const OpenedModel opened = open_model(options.model);
  auto context = dist::ContextDirectory::open_to_write(options.context,
                                                       context_settings(opened, nullptr, true));
  if (context.parent()) {
    dist::ContextPart part = whole_part(context, opened);
    part.copy_inherited_chunks();
    for (const dist::SavedState& state : context.states()) {
      if (state.n_tokens <= context.folders().back().n_before) {
        part.copy_inherited_state(state.n_tokens);
      }
    }
    context.forget_parent();
  }
  write_output(fmt::format("{}: needs no other context\n", name));
  return 0;
}

}  // namespace

int run(const ContextOptions& options) {
  switch (options.action) {
    case ContextAction::kVerify:
      return verify(options);
    case ContextAction::kPack:
      return pack(options);
    case ContextAction::kInspect:
      break;
  }
  return inspect(dist::ContextDirectory::open(options.context));
}

}  // namespace longreach::launch
