/// What a user can ask of the program: one struct per command, filled from the command line and
/// checked. The only place that knows how options are spelled; the commands read these structs.
#pragma once

#include "dist/engine/engine.hpp"
#include "eval/tasks.hpp"
#include "generation/sampler.hpp"
#include "kernels/base/types.hpp"
#include "launch/options/attention_options.hpp"
#include "model/initial_state.hpp"
#include "model/schema/config.hpp"
#include "partition/plan.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace longreach::launch {

/// How much is reported on standard error beside errors and statistics.
enum class Verbosity { kWarnings, kInfo };

/// A LoRA that is merged into a model as it is loaded.
struct LoraOption {
  std::filesystem::path path;
  double scale = 1;
};

/// Which model, and how it is run. Absent values are taken from the model or the machine.
struct ModelOptions {
  std::filesystem::path model;
  std::optional<LoraOption> lora;
  model::AttentionConfig attention = attention_defaults();  ///< See resolve_attention.
  std::optional<base::WeightFormat> weights;  ///< Default: bf16 for bf16 files, else f32.
  base::Activations activations = base::Activations::kF32;
  std::optional<std::size_t> n_threads;           ///< Of a rank; default: the cores it may use.
  std::optional<std::size_t> n_stages, n_shards;  ///< Default: planned.
  std::optional<std::filesystem::path> trace;     ///< Where all ranks' work is recorded.
  std::optional<std::filesystem::path> state;     ///< What sequences begin from; default: zeros.
  std::optional<model::StateAxes> state_axes;     ///< Of that file; default: see InitialState.
  Verbosity verbosity = Verbosity::kWarnings;
};

/// How a prompt is continued: the options of a command, or those of a line of prompts.
struct ContinuationOptions {
  std::size_t n_tokens = 256;  ///< At most so many are generated.
  generation::SamplerOptions
      sampler;  ///< Seed and these two penalties here are not used: see below.
  std::optional<double> presence_penalty;   ///< Default: the sampler's, or 0 when greedy.
  std::optional<double> frequency_penalty;  ///< The same.
  std::optional<std::uint64_t> seed;        ///< Default: whoever asks decides.
  std::vector<std::string> stop_strings;
  std::vector<base::TokenId> stop_tokens;
  std::optional<std::size_t> n_top_logprobs;  ///< Of every token; default: none is reported.
};

/// How many requests an engine runs at once.
struct BatchOptions {
  std::optional<std::size_t> n_parallel;  ///< At most; default: what fits, up to kMostParallel.
  std::optional<double> step_ms;          ///< Of a step while sequences decode; default: no limit.
  std::size_t n_replicas = 1;             ///< Engines, among which the ranks are divided.
};

/// `longreach generate`.
struct GenerateOptions {
  ModelOptions model;
  std::optional<std::string> prompt;
  std::optional<std::filesystem::path> prompt_file;   ///< Neither: the prompt is standard input.
  std::optional<std::filesystem::path> prompts, out;  ///< Many prompts, and their results.
  ContinuationOptions continuation;
  BatchOptions batch;                ///< Of many prompts.
  std::string tokenizer;             ///< "bytes" or a vocabulary file; empty: the model's.
  std::optional<base::TokenId> bos;  ///< The first token of a text.
  std::optional<std::filesystem::path> context;        ///< What was read before the prompt.
  std::optional<std::size_t> at;                       ///< So many tokens of it; default: all.
  bool any_isa = false;                                ///< See context_settings.
  std::optional<std::filesystem::path> save;           ///< A context of what is read and generated.
  std::optional<std::size_t> cache_memory;             ///< See dist::EngineOptions.
  bool wants_evidence = false;                         ///< The passages that the answer looked at.
  std::optional<std::filesystem::path> evidence_file;  ///< Default: standard error.
};

/// `longreach read`.
struct ReadOptions {
  ModelOptions model;
  std::optional<std::filesystem::path> text_file;  ///< Default: standard input.
  std::filesystem::path save;                      ///< The context.
  std::optional<std::size_t> states_every;         ///< Tokens, rounded up to whole chunks.
  std::optional<std::size_t> cache_memory;         ///< See dist::EngineOptions.
  std::string tokenizer;                           ///< As above.
  std::optional<base::TokenId> bos;                ///< The first token of the text.
};

enum class ContextAction { kInspect, kVerify, kPack };

/// `longreach context`.
struct ContextOptions {
  ContextAction action = ContextAction::kInspect;
  std::filesystem::path context;
  ModelOptions model;  ///< To verify and to pack.
};

/// `longreach logits`.
struct LogitsOptions {
  ModelOptions model;
  std::filesystem::path tokens;
  std::optional<std::filesystem::path> context;  ///< What was read before the tokens.
  std::optional<std::size_t> at;                 ///< So many tokens of it; default: all.
  bool any_isa = false;                          ///< See context_settings.
  std::optional<std::size_t> cache_memory;       ///< See dist::EngineOptions.
  std::optional<std::string> calls;      ///< Lengths as parse_calls takes them; default: one call.
  std::optional<std::string> positions;  ///< As parse_positions takes them; default: all.
  std::optional<std::filesystem::path> out;  ///< A .npy file.
  bool hash = false;
  std::optional<std::filesystem::path> fingerprints;  ///< Hashes of all that is computed.
};

/// Which way `longreach tokenize` goes.
enum class TokenizeDirection { kEncode, kDecode };

/// `longreach tokenize`.
struct TokenizeOptions {
  std::filesystem::path model;  ///< Empty: `tokenizer` is given.
  std::string tokenizer;        ///< Empty: the model's.
  std::optional<std::string> text;
  std::optional<std::filesystem::path> file;  ///< Neither: standard input.
  TokenizeDirection direction = TokenizeDirection::kEncode;
};

/// Form of a listing.
enum class ListingFormat { kText, kJson };

/// `longreach inspect`.
struct InspectOptions {
  std::filesystem::path model;
  std::optional<LoraOption> lora;
  ListingFormat format = ListingFormat::kText;
};

/// `longreach convert`.
struct ConvertOptions {
  std::filesystem::path model;
  std::optional<LoraOption> lora;
  std::filesystem::path out;
  std::optional<base::DType> dtype;  ///< Of all tensors; default: as in the file.
  std::size_t n_new_blocks = 0;      ///< Sparse blocks that are added.
  /// Of chunks alone: 0 for what the model says.
  model::AttentionConfig attention = attention_defaults();
  /// Of the squared singular values of a matrix, what its factors keep; default: no factors.
  std::optional<double> energy;
  std::optional<std::filesystem::path> text;  ///< That the model and its source are compared on.
  std::string tokenizer;                      ///< Of the text; empty: the model's.
  bool packs = false;                         ///< For the kernels.
  std::optional<base::WeightFormat> weights;  ///< Of packed ones; default: see default_weights.
  bool overwrites = false;
};

/// `longreach plan`. Absent figures of the machine: partition::Machine's.
struct PlanOptions {
  ModelOptions model;
  std::size_t context_tokens = 0;
  std::optional<std::size_t> n_ranks;          ///< Default: as many as the grid has, else 1.
  std::optional<std::string> topology;         ///< As described_node takes it; default: this node.
  std::optional<std::size_t> n_nodes;          ///< Default: one rank for each NUMA domain.
  std::optional<double> domain_gb_per_second;  ///< Read bandwidth of each NUMA domain.
  std::optional<double> network_us;            ///< Latency.
  std::optional<double> network_gb_per_second;
  std::optional<double> core_gflops;   ///< Of a core, two a multiply-add.
  std::optional<double> prompt_share;  ///< Default: that of `generate` on this context.
  /// See dist::EngineOptions; the cache is then a saved context's, in files.
  std::optional<std::size_t> cache_memory;
  ListingFormat format = ListingFormat::kText;
};

/// `longreach eval`.
struct EvalOptions {
  ModelOptions model;
  const eval::TaskKind* kind = nullptr;  ///< Never null when a command line asked for it.
  eval::TaskOptions task;
  std::string tokenizer;             ///< "bytes" or a vocabulary file; empty: the model's.
  std::optional<base::TokenId> bos;  ///< The first token of a text.
  std::filesystem::path out;         ///< Results, one JSON object a line.
  std::optional<std::filesystem::path> csv, svg, png;
  std::optional<std::filesystem::path> selection_mass;  ///< What the choice of chunks misses.
  std::size_t mass_one_in = 64;                         ///< Queries, of which one is measured.
  bool shares_prefixes = true;                    ///< Whether what prompts begin with is read once.
  std::optional<std::filesystem::path> contexts;  ///< A folder of contexts that prompts begin with.
  std::optional<std::size_t> cache_memory;        ///< See dist::EngineOptions.
  bool any_isa = false;                           ///< See context_settings.
  BatchOptions batch;
};

/// `longreach serve`.
struct ServeOptions {
  ModelOptions model;
  std::string tokenizer;             ///< "bytes" or a file; empty: the model's.
  std::optional<base::TokenId> bos;  ///< The first token of a text.
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;                           ///< 0: any that is free.
  std::optional<std::filesystem::path> api_key_file;   ///< A key a line; default: all may.
  std::optional<std::filesystem::path> chat_template;  ///< Default: that of RWKV World models.
  std::size_t context_tokens = 32768;                  ///< Of a prompt and its answer.
  std::size_t n_parallel = 32;                         ///< Texts at once.
  std::size_t max_waiting = 256;                       ///< Texts beside those.
  std::optional<std::filesystem::path> contexts;       ///< Made if it is not there.
  std::optional<std::size_t> contexts_bytes;           ///< Of what is kept in it; default: by room.
  std::optional<std::size_t> states_every;             ///< As above.
  std::optional<std::size_t> cache_memory;             ///< See dist::EngineOptions.
  /// A folder of initial states that requests may name.
  std::optional<std::filesystem::path> states;
};

/// What `longreach bench` measures.
enum class BenchQuestion {
  kDecode,    ///< Tokens one by one, at the end of a context.
  kPrefill,   ///< Prompts.
  kMixed,     ///< A prompt that is read while other sequences decode.
  kExchange,  ///< What the shards of a stage send each other.
  kBarriers,  ///< What a rank's threads take to wait for each other.
};

/// What the streams of `bench decode` and `bench mixed` have read.
enum class StreamContexts {
  kOwn,     ///< Each a context of its own.
  kForked,  ///< All the same one, whose cache they share.
};

/// `longreach bench`.
struct BenchOptions {
  ModelOptions model;
  BenchQuestion question = BenchQuestion::kDecode;
  std::vector<std::size_t> contexts = {8192};
  std::size_t n_streams = 1;  ///< Decoded at once.
  StreamContexts contexts_of_streams = StreamContexts::kOwn;
  std::size_t n_tokens = 32;  ///< Decoded in a repeat, of each stream; mixed: without the prompt.
  std::size_t n_prompt = 65536;   ///< Tokens of the prompt of `mixed`.
  std::optional<double> step_ms;  ///< See generation::SchedulerOptions.
  std::size_t n_repeats = 5;
  std::size_t n_warmups = 1;  ///< Repeats before those that count.
  /// Memory whose reading is timed for comparison. Default: more than caches hold.
  std::optional<std::size_t> read_memory_mib;
};

/// `longreach bench serve`: the names and defaults are those of `vllm bench serve`.
struct BenchServeOptions {
  std::string host;                                   ///< Of the server.
  std::uint16_t port = 80;                            ///< The same.
  std::optional<std::filesystem::path> api_key_file;  ///< Its first key is given.
  std::string model_name;                             ///< In requests; empty: none.
  std::size_t n_prompts = 1000;
  std::size_t n_input = 1024;             ///< Tokens of a prompt after the prefix.
  std::size_t n_output = 128;             ///< Tokens of an answer.
  std::size_t n_prefix = 0;               ///< Tokens that all prompts begin with.
  std::optional<std::size_t> vocab_size;  ///< Default: the server says.
  double request_rate = std::numeric_limits<double>::infinity();  ///< Requests a second.
  std::optional<std::size_t> max_concurrency;                     ///< Default: no limit.
  double share_abandoned = 0;
  std::uint64_t seed = 0;
  ListingFormat format = ListingFormat::kText;
};

/// Text the user asked for in place of a command: help or the version.
struct HelpText {
  std::string text;
};

using Command = std::variant<HelpText, GenerateOptions, ReadOptions, ContextOptions, LogitsOptions,
                             TokenizeOptions, InspectOptions, ConvertOptions, PlanOptions,
                             BenchOptions, BenchServeOptions, EvalOptions, ServeOptions>;

/// Reads the command line. Errors: InputError naming the option.
Command parse_options(int argc, const char* const* argv);

}  // namespace longreach::launch
