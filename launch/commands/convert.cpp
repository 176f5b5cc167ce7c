#include "launch/commands/convert.hpp"

#include "kernels/base/error.hpp"
#include "kernels/base/json.hpp"
#include "kernels/base/output_file.hpp"
#include "kernels/base/read_file.hpp"
#include "launch/commands/compare_models.hpp"
#include "launch/commands/low_rank.hpp"
#include "launch/machine/core_share.hpp"
#include "launch/machine/machine.hpp"
#include "launch/open_model.hpp"
#include "launch/options/limits.hpp"
#include "launch/output_files.hpp"
#include "launch/progress.hpp"
#include "launch/same_files.hpp"
#include "launch/signals.hpp"
#include "launch/standard_streams.hpp"
#include "model/checkpoint/checkpoint.hpp"
#include "model/checkpoint/file_names.hpp"
#include "model/checkpoint/safetensors_writer.hpp"
#include "model/expansion.hpp"
#include "model/packed_weights.hpp"
#include "model/schema/config.hpp"
#include "model/schema/config_file.hpp"
#include "model/schema/naming.hpp"
#include "model/schema/tensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace longreach::launch {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".safetensors";

std::string name_of_file(const fs::path& path) { return base::utf8_name(path.string()); }

/// What is written beside what, before anything long begins.
void check_output(const ConvertOptions& options, const model::Checkpoint& checkpoint,
                  const std::string& vocabulary) {
  const std::string name = name_of_file(options.out);
  if (!name.ends_with(kEnding)) {
    base::input_error("--out: expected a name that ends in {}, found {}", kEnding, name);
  }
  NamedFiles files;
  for (const fs::path& file : checkpoint.paths()) files.add_input("--model", file);
  if (const model::Lora* const lora = checkpoint.lora()) {
    for (const fs::path& file : lora->paths) files.add_input("--lora", file);
  }
  files.add_input("the vocabulary", vocabulary);
  if (options.text) files.add_input("--text", *options.text);
  files.add_output("--out", options.out);
  files.check_outputs();
  const base::OutputFile out(options.out);
  if (!out.is_plain()) base::input_error("--out: expected a plain file, found {}", name);
  // It is made aside, so its folder must be writable, too.
  base::OutputFile(fs::path(out.target()) += ".tmp");
  if (!options.overwrites && base::identity_of(options.out)) {
    base::input_error("--out: {} is there already, --overwrite replaces it", name);
  }
}

/// The config of the model that is written.
model::ModelConfig output_config(const ConvertOptions& options, model::ModelConfig config) {
  config.n_sparse += options.n_new_blocks;
  const model::AttentionConfig& asked = options.attention;
  if (config.n_sparse == 0 && (asked.chunk_size != 0 || asked.top_k != 0)) {
    base::input_error("{}: the model has no sparse blocks, --expand adds some",
                      asked.chunk_size != 0 ? "--chunk-size" : "--top-k");
  }
  config.attention = resolve_attention(asked, config.attention);
  return config;
}

/// That of the file, which has only executed blocks if it is packed.
model::ModelConfig config_of_file(const ConvertOptions& options, model::ModelConfig config) {
  if (!options.packs) return config;
  const std::vector<model::BlockRef> order = config.execution_order();
  config.n_rwkv = static_cast<std::size_t>(
      std::ranges::count(order, model::BlockKind::kRwkv, &model::BlockRef::kind));
  config.low_ranks.resize(config.n_rwkv);
  return config;
}

bool is_same_tokenizer(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return a == b || fs::equivalent(a, b, ignored);
}

/// Whether a file in that folder is read with this config as the folder is.
bool says_the_same(const fs::path& folder, const model::ModelConfig& config) {
  model::ModelConfig read = config;  // its sizes
  read.attention = {};
  read.tokenizer.clear();
  read.end_token = {};
  model::complete_config(folder, read);
  const bool has_same_chunks =
      config.n_sparse == 0 || (read.attention.chunk_size == config.attention.chunk_size &&
                               read.attention.top_k == config.attention.top_k);
  return has_same_chunks && read.end_token == config.end_token &&
         (config.tokenizer.empty() || is_same_tokenizer(read.tokenizer, config.tokenizer));
}

/// A config.json that has to be written beside the file.
struct ConfigFile {
  fs::path path;
  std::string text;
};

/// A checkpoint of the folder beside the file that is to be written; empty if there is none.
fs::path other_checkpoint(const fs::path& folder, const fs::path& out) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path name = entry->path().filename();
    if (model::is_checkpoint_name(name.native()) && name != out.filename()) return entry->path();
  }
  return {};
}

/// Nothing if the folder says already what the file, behind all links, does not. Errors: InputError
/// for a config.json that says otherwise, and for another checkpoint that a new one would be of,
/// too.
std::optional<ConfigFile> needed_config_file(const fs::path& out,
                                             const model::ModelConfig& config) {
  const fs::path folder = out.parent_path();
  if (says_the_same(folder, config)) return std::nullopt;
  ConfigFile file{folder / model::kConfigFile, model::config_file_text(config, folder)};
  if (base::identity_of(file.path)) {
    base::input_error(
        "{}: is another model's or another run's: write to a folder of its own, or remove it",
        name_of_file(file.path));
  }
  if (const fs::path other = other_checkpoint(folder, out); !other.empty()) {
    base::input_error(
        "{}: would be the config.json of {}, too: write to a folder of its own, as it says what "
        "the "
        "file cannot",
        name_of_file(file.path), name_of_file(other));
  }
  return file;
}

/// Gives a tensor so many dimensions, by those of length 1 that it begins with.
void set_dimensions(model::Tensor& tensor, std::size_t n) {
  while (tensor.shape.size() < n) {
    tensor.shape.insert(tensor.shape.begin(), 1);
    tensor.strides.insert(tensor.strides.begin(), 0);
  }
  while (tensor.shape.size() > n && tensor.shape.front() == 1) {
    tensor.shape.erase(tensor.shape.begin());
    tensor.strides.erase(tensor.strides.begin());
  }
}

/// Of the checkpoint, of new blocks, and factors in the place of matrices, which completes the
/// config; in the shapes of the authors' files.
model::TensorMap all_tensors(const model::Checkpoint& checkpoint,
                             const model::NewBlocks& new_blocks, const LowRankModel& low_rank,
                             model::ModelConfig& config) {
  model::TensorMap tensors = checkpoint.tensors();
  tensors.insert(new_blocks.tensors.begin(), new_blocks.tensors.end());
  low_rank.replace(tensors, config);
  for (const model::ListedTensor& listed : model::list_tensors(config)) {
    const auto found = tensors.find(listed.name);
    if (found != tensors.end()) set_dimensions(found->second, listed.shape.size());
  }
  return tensors;
}

std::vector<model::OutputTensor> output_tensors(const ConvertOptions& options,
                                                const model::TensorMap& tensors,
                                                const model::TensorMap& sources,
                                                const LowRankModel& low_rank,
                                                const model::ModelConfig& config) {
  std::vector<model::OutputTensor> outputs;
  for (const auto& [name, tensor] : tensors) {
    const base::DType dtype =
        sources.contains(name) ? tensor.dtype : low_rank.dtype_of(name).value_or(config.dtype);
    outputs.push_back({config.n_sparse > 0 ? model::name_in_rwkv_x(name) : name,
                       options.dtype.value_or(dtype), tensor});
  }
  return outputs;
}

/// The status line of writing, and whether to go on.
class WriteProgress {
 public:
  explicit WriteProgress(const StopSignals& signals) : signals_(signals) {}

  bool show(std::size_t n_done, std::size_t n_all) {
    line_.update([&] {
      return fmt::format("writing  {}%  {} of {}", n_done * 100 / n_all, bytes_text(n_done),
                         bytes_text(n_all));
    });
    return !signals_.received();
  }

 private:
  const StopSignals& signals_;
  StatusLine line_{PlainLines::kNone};
};

/// By which runs of a packed model know it: as its source, unless it is another model or random.
std::string source_of(const model::Checkpoint& checkpoint, const model::NewBlocks& new_blocks) {
  const bool is_source = checkpoint.preset() == nullptr && new_blocks.tensors.empty();
  return is_source ? checkpoint.fingerprint() : "";
}

/// What is converted, and to what.
struct Conversion {
  model::Checkpoint checkpoint;
  model::ModelConfig source, config;  ///< The latter is that of the model that is written.
  // On the leader:
  model::NewBlocks new_blocks = {};
  std::optional<ConfigFile> config_file = {};
  std::vector<base::TokenId> text = {};  ///< That models are compared on.
};

/// The first tokens of --text; none without it.
std::vector<base::TokenId> compared_tokens(const ConvertOptions& options,
                                           const Conversion& conversion) {
  if (!options.text) return {};
  const auto tokenizer =
      open_tokenizer_of(conversion.checkpoint, conversion.source, options.tokenizer);
  std::vector<base::TokenId> tokens = tokenizer->encode(base::read_file(*options.text));
  if (tokens.size() < 2) {
    base::input_error("--text: expected two tokens at least, found {} in {}", tokens.size(),
                      name_of_file(*options.text));
  }
  tokens.resize(std::min(tokens.size(), kMostComparedTokens));
  return tokens;
}

/// What can be done before anything long begins.
Conversion begin(const ConvertOptions& options, const dist::World& world) {
  model::Checkpoint checkpoint = open_checkpoint(options.model, options.lora);
  const model::ModelConfig source = model::read_config(checkpoint);
  model::check_tensors(checkpoint, source);
  if (checkpoint.packed() != nullptr) {
    base::input_error("{}: is packed, convert what it was made of", name_of_file(options.model));
  }
  Conversion conversion{std::move(checkpoint), source, output_config(options, source)};
  if (!world.leads_job()) return conversion;
  check_output(options, conversion.checkpoint, source.tokenizer);
  if (options.n_new_blocks > 0) {
    conversion.new_blocks =
        model::make_sparse_blocks(conversion.checkpoint, source, options.n_new_blocks);
  }
  conversion.config_file = needed_config_file(base::OutputFile(options.out).target(),
                                              config_of_file(options, conversion.config));
  conversion.text = compared_tokens(options, conversion);
  // What is written carries no checksums by which damage could still be seen.
  conversion.checkpoint.verify();
  return conversion;
}

/// False if a signal ended it.
bool write_tensors(base::OutputFile& out, const ConvertOptions& options,
                   const Conversion& conversion, const LowRankModel& low_rank,
                   const StopSignals& signals) {
  const model::Checkpoint& checkpoint = conversion.checkpoint;
  model::ModelConfig config = conversion.config;
  const model::TensorMap tensors = all_tensors(checkpoint, conversion.new_blocks, low_rank, config);
  WriteProgress progress(signals);
  const auto after_piece = [&](std::size_t n_done, std::size_t n_all) {
    checkpoint.release_pages();
    return progress.show(n_done, n_all);
  };
  if (options.packs) {
    const base::WeightFormat format = options.weights.value_or(default_weights(checkpoint, config));
    kernels::ThreadPool pool(share_cores(std::vector{describe_machine()}).front().n_threads);
    return model::write_packed(
        out, tensors, config,
        {kernels::PanelLayout::in_use(format), source_of(checkpoint, conversion.new_blocks)}, pool,
        after_piece);
  }
  return model::write_safetensors(
      out, output_tensors(options, tensors, checkpoint.tensors(), low_rank, config), after_piece);
}

/// Writes the file, the config.json that it needs, and what is said of them; no file if a signal
/// ended it.
void write_model(const ConvertOptions& options, const Conversion& conversion,
                 const LowRankModel& low_rank, const StopSignals& signals) {
  base::OutputFile out(options.out);
  if (!write_tensors(out, options, conversion, low_rank, signals)) return;
  const auto& config_file = conversion.config_file;
  // First, so that the file is never there without it.
  if (config_file) base::write_file(config_file->path, config_file->text);
  out.finish();
  std::string text;
  if (options.energy) {
    const model::TensorMap& tensors = conversion.checkpoint.tensors();
    text = low_rank.table(options.dtype);
    std::size_t n_bytes = 0;
    for (const auto& [name, tensor] : tensors) n_bytes += tensor.stored_bytes();
    text += fmt::format("{}: tensors of {}\n", name_of_file(options.model), bytes_text(n_bytes));
  }
  write_output(text + fmt::format("{}: {}{}\n", name_of_file(options.out),
                                  bytes_text(fs::file_size(options.out)),
                                  config_file ? ", and a config.json beside it" : ""));
}

/// Those that decide what is written.
void require_same_sources(const Conversion& conversion, dist::World& world) {
  std::vector<InputFile> files;
  for (const fs::path& path : conversion.checkpoint.paths()) {
    files.push_back({path, InputFile::Readers::kAll});
  }
  if (const model::Lora* const lora = conversion.checkpoint.lora()) {
    for (const fs::path& path : lora->paths) files.push_back({path, InputFile::Readers::kAll});
  }
  require_same_files(files, world);
}

/// Of --text. Collective.
void report_comparison(const ConvertOptions& options, const Conversion& conversion,
                       const StopSignals& signals, dist::World& world) {
  ModelOptions source, result;
  source.model = options.model;
  source.lora = options.lora;
  result.model = options.out;
  source.attention = result.attention = options.attention;
  const auto table = compare_models(source, result, conversion.text, signals, world);
  if (table && world.leads_job()) write_output(*table);
}

}  // namespace

int run(const ConvertOptions& options, dist::World& world) {
  const StopSignals signals;
  const Conversion conversion = world.agree([&] { return begin(options, world); });
  LowRankModel low_rank;
  if (options.energy) {
    require_same_sources(conversion, world);
    auto found =
        low_rank_model(conversion.checkpoint, conversion.config, *options.energy, signals, world);
    if (!found) return exit_code_anywhere(signals, world);
    low_rank = std::move(*found);
  }
  world.agree([&] {
    if (world.leads_job()) write_model(options, conversion, low_rank, signals);
  });
  if (options.text && exit_code_anywhere(signals, world) == 0) {
    report_comparison(options, conversion, signals, world);
  }
  return exit_code_anywhere(signals, world);
}

}  // namespace longreach::launch
