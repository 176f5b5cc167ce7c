#include "launch/options/options.hpp"

#include "kernels/base/error.hpp"
#include "launch/generator_options.hpp"
#include "launch/options/limits.hpp"
#include "launch/options/parse_number.hpp"
#include "model/step.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string_view>
#include <utility>

namespace longreach::launch {
namespace {

// Bounds that keep products of sizes far from overflow.
constexpr std::size_t kMaxThreads = 1024;
constexpr std::size_t kMaxRepeats = 1000;
// A step has a row of each and, in `bench mixed`, some of a prompt.
constexpr std::size_t kMaxStreams = 500;
static_assert(kMaxStreams < model::kStepRows);
// While shorter ones are read, streams may get no token that could be timed.
constexpr std::size_t kMinMixedPrompt = 512;
constexpr std::size_t kMaxReadMib = std::size_t{1} << 20;
constexpr std::size_t kMaxSamples = 1'000'000;
constexpr std::size_t kMaxDepths = 1000;
constexpr std::size_t kMostPrompts = 1'000'000;
constexpr std::size_t kMostTokenIds = std::size_t{1} << 31;
constexpr std::size_t kMostNewBlocks = 1000;
constexpr double kLeastRate = 0.001;
constexpr double kMostScale = 1e6;

/// Takes the text of one value; throws CLI::ValidationError through the functions below.
using TakeText = std::function<void(const std::string&)>;

[[noreturn]] void refuse(const std::string& name, const std::string& expected,
                         const std::string& found) {
  throw CLI::ValidationError(name, fmt::format("expected {}, found \"{}\"", expected, found));
}

// CLI11's own conversions are passed by: they read 010 as octal, take NaN, and let numbers wrap.
CLI::Option* add_text(CLI::App& app, const std::string& name, const std::string& type,
                      const std::string& description, TakeText take) {
  return app
      .add_option(
          name,
          [take = std::move(take)](const CLI::results_t& values) {
            take(values.front());
            return true;
          },
          description)
      ->type_name(type);
}

CLI::Option* add_repeatable(CLI::App& app, const std::string& name, const std::string& type,
                            const std::string& description, TakeText take) {
  return app
      .add_option(
          name,
          // The callback's own argument is altered by CLI11 for values like "{}".
          [&app, name, take = std::move(take)](const CLI::results_t&) {
            for (const std::string& value : app.get_option(name)->results()) take(value);
            return true;
          },
          description)
      ->type_name(type)
      ->take_all();
}

/// "-n" of "-n,--tokens", for messages.
std::string first_name(const std::string& names) { return names.substr(0, names.find(',')); }

template <typename Integer>
Integer read_integer(const std::string& name, const std::string& text, Integer least,
                     Integer most) {
  const auto value = parse_number<Integer>(text);
  if (!value || *value < least || *value > most) {
    refuse(name, fmt::format("a whole number from {} to {}", least, most), text);
  }
  return *value;
}

/// "4096", "500M", "4G", "4GiB": units are powers of 1024.
std::size_t read_bytes(const std::string& name, const std::string& text) {
  constexpr std::size_t kMaxBytes = std::size_t{1} << 50;
  constexpr std::string_view kUnits = "KMGT";
  std::string_view digits = text;
  if (digits.ends_with("iB")) digits.remove_suffix(2);
  const std::size_t unit = digits.empty() ? kUnits.npos : kUnits.find(digits.back());
  if (unit != kUnits.npos) digits.remove_suffix(1);
  const std::size_t shift = unit == kUnits.npos ? 0 : 10 * (unit + 1);
  const auto value = parse_number<std::size_t>(digits);
  if (!value || *value == 0 || *value > kMaxBytes >> shift ||
      (unit == kUnits.npos && digits.size() != text.size())) {
    refuse(name, "a number of bytes, such as 500M or 4G", text);
  }
  return *value << shift;
}

CLI::Option* add_bytes(CLI::App& app, const std::string& name, std::optional<std::size_t>& bytes,
                       const std::string& description) {
  return add_text(app, name, "SIZE", description,
                  [&bytes, name](const std::string& text) { bytes = read_bytes(name, text); });
}

template <typename Target>
CLI::Option* add_count(CLI::App& app, const std::string& names, Target& target, std::size_t least,
                       std::size_t most, const std::string& description) {
  return add_text(app, names, "N", description,
                  [&target, least, most, name = first_name(names)](const std::string& text) {
                    target =
                        static_cast<Target>(read_integer<std::size_t>(name, text, least, most));
                  });
}

/// A finite number from least to most.
template <typename Target>
CLI::Option* add_real(CLI::App& app, const std::string& name, Target& target, double least,
                      double most, const std::string& description) {
  return add_text(app, name, "X", description,
                  [&target, least, most, name](const std::string& text) {
                    const auto value = parse_number<double>(text);
                    if (!value || !(*value >= least && *value <= most)) {
                      refuse(name, fmt::format("a number from {} to {}", least, most), text);
                    }
                    target = *value;
                  });
}

template <typename Target, typename Value>
CLI::Option* add_choice(CLI::App& app, const std::string& name, Target& target,
                        std::vector<std::pair<std::string, Value>> choices,
                        const std::string& description) {
  std::string names;
  for (const auto& choice : choices) {
    if (!names.empty()) names += '|';
    names += choice.first;
  }
  return add_text(app, name, names, description,
                  [&target, names, name, choices = std::move(choices)](const std::string& text) {
                    for (const auto& [choice, value] : choices) {
                      if (choice == text) {
                        target = value;
                        return;
                      }
                    }
                    refuse(name, names, text);
                  });
}

template <typename Target>
CLI::Option* add_path(CLI::App& app, const std::string& name, const std::string& type,
                      Target& target, const std::string& description) {
  return add_text(app, name, type, description, [&target, name](const std::string& text) {
    if (text.empty()) refuse(name, "a path", text);
    target = text;
  });
}

CLI::Option* add_token_ids(CLI::App& app, const std::string& name,
                           std::vector<base::TokenId>& target, const std::string& description) {
  return add_repeatable(app, name, "ID", description, [&target, name](const std::string& text) {
    target.push_back(
        read_integer<base::TokenId>(name, text, 0, std::numeric_limits<base::TokenId>::max()));
  });
}

constexpr auto kModelHelp =
    "a .pth, .safetensors, .st or .gguf file, a folder that holds\none, or preset:NAME for random "
    "weights";
constexpr auto kTokenizerHelp =
    "\"bytes\" or a vocabulary file; default: what config.json names,\nelse a single "
    "rwkv_vocab*.txt beside "
    "the checkpoint,\nelse bytes for a vocabulary of 256";

/// Adds the options of some parts of attention.
class AddAttentionOptions {
 public:
  AddAttentionOptions(CLI::App& app, std::initializer_list<AttentionPart> parts)
      : app_(app), parts_(parts) {}

  void count(const AttentionOption& option, std::size_t& value, std::size_t least,
             std::size_t most) {
    if (!is_asked_for(option)) return;
    CLI::Option* added = add_count(app_, option.name, value, least, most, option.help);
    if (value >= least) added->default_str(fmt::to_string(value));
    added->group(option.group);
  }

  template <typename Value>
  void choice(const AttentionOption& option, Value& value, std::initializer_list<Value> values) {
    if (!is_asked_for(option)) return;
    std::vector<std::pair<std::string, Value>> choices;
    for (const Value each : values) choices.emplace_back(name_of(each), each);
    add_choice(app_, option.name, value, std::move(choices), option.help)
        ->default_str(std::string(name_of(value)))
        ->group(option.group);
  }

  void flag(const AttentionOption& option, bool& value) {
    if (is_asked_for(option)) app_.add_flag(option.name, value, option.help)->group(option.group);
  }

 private:
  bool is_asked_for(const AttentionOption& option) const {
    return std::ranges::find(parts_, option.part) != parts_.end();
  }

  CLI::App& app_;
  std::vector<AttentionPart> parts_;
};

void add_attention_options(CLI::App& app, model::AttentionConfig& attention,
                           std::initializer_list<AttentionPart> parts) {
  visit_attention_options(attention, AddAttentionOptions(app, parts));
}

CLI::Option* add_weights(CLI::App& app, std::optional<base::WeightFormat>& weights) {
  using base::WeightFormat;
  return add_choice<std::optional<WeightFormat>, WeightFormat>(
      app, "--weights", weights,
      {{"f32", WeightFormat::kF32},
       {"bf16", WeightFormat::kBf16},
       {"int8", WeightFormat::kInt8},
       {"int4", WeightFormat::kInt4}},
      "how weights are kept; default: bf16 for bf16 files, else f32,\nand as they are in packed "
      "files");
}

CLI::Option* add_activations(CLI::App& app, base::Activations& activations) {
  using base::Activations;
  return add_choice<Activations, Activations>(
             app, "--activations", activations,
             {{"f32", Activations::kF32},
              {"bf16", Activations::kBf16},
              {"int8", Activations::kInt8}},
             "what activations are rounded to where they meet weights: bf16\nwith bf16 "
             "weights, int8 with int8 and int4 ones; where they\nmeet a cache of bf16 or int8, "
             "to bf16: faster where the\nCPU has instructions for it, at some accuracy, "
             "which\ndocs/models.md gives")
      ->default_str(std::string(name_of(activations)));
}

/// FILE or FILE=SCALE; what follows the last = counts as a scale if it is a number.
void add_lora(CLI::App& app, std::optional<LoraOption>& lora) {
  add_text(
      app, "--lora", "FILE[=SCALE]",
      "a LoRA to merge into the model as it is loaded, its product times\nSCALE (default: 1): "
      "a .pth, .safetensors or .st file of lora_A and\nlora_B, which need SCALE alpha / r; or "
      "a folder of PEFT, which says\nits alpha",
      [&lora](const std::string& text) {
        const std::size_t end = text.rfind('=');
        const auto scale =
            parse_number<double>(end == text.npos ? "" : std::string_view(text).substr(end + 1));
        lora = LoraOption{scale ? text.substr(0, end) : text, scale.value_or(1)};
        if (lora->path.empty() || !(std::abs(lora->scale) <= kMostScale)) {
          refuse("--lora", fmt::format("a path, perhaps with =SCALE up to {}", kMostScale), text);
        }
      });
}

/// What a plan of a run depends on.
void add_planned_options(CLI::App& app, ModelOptions& options) {
  using enum AttentionPart;
  add_path(app, "--model", "PATH", options.model, kModelHelp)->required();
  add_lora(app, options.lora);
  add_attention_options(app, options.attention, {kMode, kChunks, kEviction});
  add_weights(app, options.weights)->group("Running");
  add_activations(app, options.activations)->group("Running");
  add_attention_options(app, options.attention, {kCache});
  add_count(app, "--threads", options.n_threads, 1, kMaxThreads,
            "of a rank; default: the cores it may use")
      ->group("Running");
  add_count(app, "--stages", options.n_stages, 1, partition::kMaxRanks,
            "runs of blocks that pass a token on; default: planned")
      ->group("Running");
  add_count(app, "--shards", options.n_shards, 1, partition::kMaxRanks,
            "ranks that share a stage's weights and cache; default:\nplanned")
      ->group("Running");
}

/// What commands that run a model have in common.
void add_model_options(CLI::App& app, ModelOptions& options) {
  add_planned_options(app, options);
  add_attention_options(app, options.attention, {AttentionPart::kExchange});
  add_path(app, "--trace", "FILE", options.trace,
           "record what all ranks do, for ui.perfetto.dev or\nchrome://tracing")
      ->group("Running");
  app.add_flag_callback(
         "--verbose", [&options] { options.verbosity = Verbosity::kInfo; },
         "report on standard error how the model is run")
      ->group("Running");
}

void add_bos(CLI::App& app, std::optional<base::TokenId>& bos) {
  add_text(app, "--bos", "ID|none",
           "put this token first in a text: World models know texts that begin\nwith 0, the end "
           "token; not before token ids, nor after a context;\ndefault: none",
           [&bos](const std::string& text) {
             bos.reset();
             if (text == "none") return;
             bos = parse_number<base::TokenId>(text);
             if (!bos || *bos < 0) refuse("--bos", "the id of a token, or none", text);
           });
}

CLI::Option* add_state(CLI::App& app, ModelOptions& options) {
  return add_path(app, "--state", "FILE", options.state,
                  "the state that texts begin from in place of zeros (state tuning):\na .pth, .st "
                  "or .safetensors file of blocks.N.att.time_state");
}

CLI::Option* add_state_axes(CLI::App& app, ModelOptions& options) {
  using model::StateAxes;
  return add_choice<std::optional<StateAxes>, StateAxes>(
      app, "--state-axes", options.state_axes,
      {{std::string(name_of(StateAxes::kKeyValue)), StateAxes::kKeyValue},
       {std::string(name_of(StateAxes::kValueKey)), StateAxes::kValueKey}},
      "rows and columns of its matrices; default: value-key in a .pth,\nkey-value in the others");
}

/// Of commands in which texts begin.
void add_state_options(CLI::App& app, ModelOptions& options) {
  CLI::Option* state = add_state(app, options);
  add_state_axes(app, options)->needs(state);
}

/// Of commands that run many requests at once.
void add_batch_options(CLI::App& app, BatchOptions& options, const std::string& what) {
  const std::string group = "Running";
  add_count(
      app, "--parallel", options.n_parallel, 1, model::kStepRows,
      fmt::format("{} of a replica that run at once, at most; default: as\nmany as fit, up to {}; "
                  "changes no result",
                  what, kMostParallel))
      ->group(group);
  add_count(
      app, "--replicas", options.n_replicas, 1, partition::kMaxRanks,
      "engines that work at once, each on an equal part of\nthe ranks; default: 1; changes no "
      "result")
      ->group(group);
}

/// Of `generate`: many prompts at once.
void add_prompts(CLI::App& command, GenerateOptions& options) {
  const std::string group = "Many prompts";
  CLI::Option* prompts =
      add_path(
          command, "--prompts", "FILE", options.prompts,
          "a file of prompts, a JSON object a line (see below);\nall are continued, many at once")
          ->excludes("--prompt")
          ->excludes("--prompt-file")
          ->group(group);
  CLI::Option* out =
      add_path(command, "--out", "FILE", options.out,
               "their results, a JSON object a line as they come; a run\nthat was stopped "
               "goes on where its file ends")
          ->needs(prompts)
          ->group(group);
  prompts->needs(out);
  add_count(command, "--logprobs", options.continuation.n_top_logprobs, 0, kMostLogprobs,
            "with every token its logarithm of probability, and\nthose of so many best ones")
      ->needs(prompts)
      ->group(group);
  add_real(command, "--step-ms", options.batch.step_ms, 0.001, 1e9,
           "milliseconds that prompts may make a step last while\nothers decode; default: no limit")
      ->needs(prompts)
      ->group(group);
  add_batch_options(command, options.batch, "prompts");
  for (const char* const name : {"--parallel", "--replicas"})
    command.get_option(name)->needs(prompts);
}

CLI::Option* add_states_every(CLI::App& command, std::optional<std::size_t>& states_every) {
  return add_count(
      command, "--states-every", states_every, 1, kMaxTokens,
      "tokens after which a state is saved, rounded up to whole chunks:\na run that is "
      "killed goes on from there; default: 8192, or more if\nstates would be more than "
      "a tenth of the cache");
}

CLI::Option* add_cache_memory(CLI::App& command, std::optional<std::size_t>& bytes) {
  return add_bytes(
      command, "--cache-memory", bytes,
      "hold at most so much of a context's cache in memory, on each\nrank, e.g. 500M or "
      "4G; default: what the system leaves");
}

CLI::Option* add_any_isa(CLI::App& command, bool& any_isa) {
  return command.add_flag("--any-isa", any_isa,
                          "also if it was read by another path of instructions, which\nrounds "
                          "otherwise: not the bits of one run");
}

/// A context that a command goes on from.
template <typename Options>
CLI::Option* add_context(CLI::App& command, Options& options, const char* what) {
  CLI::Option* const context = add_path(command, "--context", "DIR", options.context,
                                        std::string("a context that read made: ") + what);
  add_count(command, "--at", options.at, 1, kMaxTokens,
            "its first N tokens alone, of which those after the last state\nbefore are read again; "
            "default: all of them")
      ->needs(context);
  add_cache_memory(command, options.cache_memory)->needs(context);
  add_any_isa(command, options.any_isa)->needs(context);
  return context;
}

CLI::App& add_generate(CLI::App& app, GenerateOptions& options) {
  CLI::App& command = *app.add_subcommand("generate", "Continue a prompt");
  add_model_options(command, options.model);
  add_state_options(command, options.model);
  CLI::Option* prompt =
      add_text(command, "--prompt", "TEXT", "the text to continue; default: standard input",
               [&options](const std::string& text) { options.prompt = text; });
  add_path(command, "--prompt-file", "FILE", options.prompt_file,
           "a file with the text to continue")
      ->excludes(prompt);
  add_prompts(command, options);
  add_context(command, options, "the prompt follows its text")
      ->excludes(command.get_option("--prompts"));
  add_path(command, "--save", "DIR", options.save,
           "a context of what is read and generated, which goes on after that\nof --context: a "
           "folder, made if it is not there")
      ->excludes(command.get_option("--prompts"))
      ->excludes(command.get_option("--any-isa"));
  add_count(command, "-n,--tokens", options.continuation.n_tokens, 1, kMaxTokens,
            "generate at most so many tokens")
      ->default_str("256");
  add_path(command, "--tokenizer", "T", options.tokenizer, kTokenizerHelp);
  add_bos(command, options.bos);
  add_text(command, "--evidence", "[FILE]",
           "report the passages of the context that the answer looked at:\non standard error, or "
           "as JSON lines in the file",
           [&options](const std::string& text) {
             if (!text.empty()) options.evidence_file = text;
           })
      ->expected(0, 1)
      ->excludes(command.get_option("--prompts"));

  const std::string sampling = "Sampling";
  add_real(command, "--temperature", options.continuation.sampler.temperature, 0, kMaxTemperature,
           "0: always the most probable token")
      ->default_str("1")
      ->group(sampling);
  add_real(command, "--top-p", options.continuation.sampler.top_p, 0, 1,
           "draw from the most probable tokens that sum to this")
      ->default_str("0.85")
      ->group(sampling);
  add_count(command, "--sample-top-k", options.continuation.sampler.top_k, 0, kMaxTokens,
            "draw from so many most probable tokens; 0: no limit")
      ->default_str("0")
      ->group(sampling);
  add_real(command, "--presence-penalty", options.continuation.presence_penalty, 0, 1000,
           "taken off the logits of tokens generated before; default: 0.2,\nor 0 at temperature 0: "
           "greedy "
           "is the plain best token")
      ->group(sampling);
  add_real(command, "--frequency-penalty", options.continuation.frequency_penalty, 0, 1000,
           "the same, times how often they were generated; default: 0.2,\nor 0 at temperature 0")
      ->group(sampling);
  add_real(command, "--penalty-decay", options.continuation.sampler.decay, 0, 1,
           "what is left of these counts after each token")
      ->default_str("0.996")
      ->group(sampling);
  add_text(command, "--seed", "N",
           "draws the same tokens again; default: a random one, reported at the\nend, or 0 with "
           "--prompts, "
           "where line i has the seed N + i",
           [&options](const std::string& text) {
             options.continuation.seed = read_integer<std::uint64_t>(
                 "--seed", text, 0, std::numeric_limits<std::uint64_t>::max());
           })
      ->group(sampling);

  const std::string stopping = "Stopping (beside the model's end token)";
  add_repeatable(command, "--stop", "TEXT", "end before this text; may be repeated",
                 [&options](const std::string& text) {
                   if (text.empty()) refuse("--stop", "a text", text);
                   options.continuation.stop_strings.push_back(text);
                 })
      ->group(stopping);
  add_token_ids(command, "--stop-token", options.continuation.stop_tokens,
                "end before this token; may be repeated")
      ->group(stopping);
  add_token_ids(command, "--ban-token", options.continuation.sampler.banned,
                "never generate this token; may be repeated")
      ->group(sampling);
  command.footer(
      "The continuation goes to standard output; one line of statistics to standard error.\n"
      "A line of --prompts is an object {\"id\", \"prompt\" or \"tokens\"}; its \"n\", "
      "\"temperature\", "
      "\"seed\",\n\"stop\" and \"logprobs\" replace the options.\n\n"
      "Example:\n  longreach generate --model model.pth --prompt-file book.txt -n 100 "
      "--temperature 0");
  return command;
}

CLI::App& add_read(CLI::App& app, ReadOptions& options) {
  CLI::App& command =
      *app.add_subcommand("read", "Read a text once, and save what it leaves behind");
  add_model_options(command, options.model);
  add_state_options(command, options.model);
  add_path(command, "--file", "FILE", options.text_file,
           "the text to read; default: standard input");
  add_path(command, "--save", "DIR", options.save,
           "the context: a folder, made if it is not there; one that is there\nis continued")
      ->required();
  add_states_every(command, options.states_every);
  add_cache_memory(command, options.cache_memory);
  add_path(command, "--tokenizer", "T", options.tokenizer, kTokenizerHelp);
  add_bos(command, options.bos);
  command.footer(
      "Ctrl-C saves what was read; the same command goes on from there.\n\n"
      "Example:\n  longreach read --model model.pth --file book.txt --save book.ctx\n"
      "  longreach generate --model model.pth --context book.ctx --prompt 'Who is Ishmael?'");
  return command;
}

CLI::App& add_context_command(CLI::App& app, ContextOptions& options) {
  CLI::App& command = *app.add_subcommand("context", "Look at a context that read made");
  CLI::App& inspect = *command.add_subcommand("inspect", "List its settings and states");
  CLI::App& verify = *command.add_subcommand("verify", "Compare all files with their checksums");
  CLI::App& pack = *command.add_subcommand(
      "pack", "Copy what it has from the contexts it goes on after, so that it needs them no more");
  for (CLI::App* const action : {&inspect, &verify, &pack}) {
    add_path(*action, "CONTEXT", "DIR", options.context, "the context")->required();
  }
  for (CLI::App* const action : {&verify, &pack}) {
    add_model_options(*action, options.model);
    add_state_options(*action, options.model);
  }
  pack.parse_complete_callback([&options] { options.action = ContextAction::kPack; });
  verify.parse_complete_callback([&options] { options.action = ContextAction::kVerify; });
  inspect.footer("Example:\n  longreach context inspect book.ctx");
  verify.footer("Example:\n  longreach context verify book.ctx --model model.pth");
  pack.footer("Example:\n  longreach context pack book.ctx --model model.pth");
  command.footer("longreach context ACTION --help shows the options of an action.");
  command.require_subcommand(1);
  return command;
}

CLI::App& add_logits(CLI::App& app, LogitsOptions& options) {
  CLI::App& command =
      *app.add_subcommand("logits", "Compute logits, to compare with other programs");
  add_model_options(command, options.model);
  add_state_options(command, options.model);
  add_path(command, "--tokens", "FILE", options.tokens,
           "token ids: .npy, a JSON list, or text separated by commas or blanks")
      ->required();
  add_context(command, options, "the tokens follow its text");
  add_text(command, "--calls", "LENGTHS",
           "how the tokens are split into calls, e.g. 100,1*20; default: one call",
           [&options](const std::string& text) { options.calls = text; });
  add_text(command, "--positions", "LIST",
           "positions in --tokens whose logits are recorded, e.g. 0,5;\ndefault: all",
           [&options](const std::string& text) { options.positions = text; });
  add_path(command, "--out", "FILE", options.out,
           "write the logits there: .npy, float32 (positions, vocabulary)");
  command.add_flag(
      "--hash", options.hash,
      "end with the SHA-256 of the recorded logits: float32, little endian, each position "
      "once, ascending");
  add_path(command, "--fingerprints", "FILE", options.fingerprints,
           "write hashes of all that is computed to FILE.0, FILE.1, .. one for\neach rank; "
           "scripts/first-difference says where two runs part");
  command.footer(
      "Without --out and --hash, prints the five best tokens of each recorded position.\n\n"
      "Example:\n  longreach logits --model model.pth --tokens ids.txt --calls 1000,1*20 --hash");
  return command;
}

CLI::App& add_tokenize(CLI::App& app, TokenizeOptions& options) {
  CLI::App& command = *app.add_subcommand("tokenize", "Turn text into token ids, or back");
  CLI::Option* model = add_path(command, "--model", "PATH", options.model, kModelHelp);
  add_path(command, "--tokenizer", "T", options.tokenizer, kTokenizerHelp)->excludes(model);
  CLI::Option* file =
      add_path(command, "--file", "FILE", options.file, "read this file; default: standard input");
  add_text(command, "--text", "TEXT", "tokenize this text", [&options](const std::string& text) {
    options.text = text;
  })->excludes(file);
  command.add_flag_callback(
      "--decode", [&options] { options.direction = TokenizeDirection::kDecode; },
      "read token ids (.npy, a JSON list, or text separated by commas or blanks), write their "
      "bytes");
  command.footer(
      "Example:\n  longreach tokenize --tokenizer vocab.txt --text 'Hello' | longreach tokenize "
      "--tokenizer vocab.txt --decode");
  return command;
}

CLI::App& add_inspect(CLI::App& app, InspectOptions& options) {
  CLI::App& command = *app.add_subcommand("inspect", "List what a checkpoint holds");
  add_path(command, "--model", "PATH", options.model, kModelHelp)->required();
  add_lora(command, options.lora);
  command.add_flag_callback(
      "--json", [&options] { options.format = ListingFormat::kJson; },
      "the same as one JSON object");
  command.footer("Example:\n  longreach inspect --model model.pth");
  return command;
}

CLI::App& add_convert(CLI::App& app, ConvertOptions& options) {
  CLI::App& command =
      *app.add_subcommand("convert", "Write a checkpoint as .safetensors, in the authors' names");
  add_path(command, "--model", "PATH", options.model, kModelHelp)->required();
  add_lora(command, options.lora);
  add_path(
      command, "--out", "FILE", options.out,
      "the file, which ends in .safetensors; a config.json is written beside\nit if it needs one")
      ->required();
  using base::DType;
  CLI::Option* dtype = add_choice<std::optional<DType>, DType>(
      command, "--dtype", options.dtype,
      {{"f32", DType::kF32}, {"f16", DType::kF16}, {"bf16", DType::kBf16}},
      "how all tensors are kept; default: each as in the file, and those in\nblocks of few bits as "
      "f32");
  CLI::Option* packed = command.add_flag(
      "--packed", options.packs,
      "pack the weights as they are multiplied: runs with these --weights\nbegin without packing, "
      "and ranks of a machine share them in memory");
  packed->excludes(dtype);
  add_weights(command, options.weights)->needs(packed);
  command.add_flag("--overwrite", options.overwrites, "replace the file if it is there");
  CLI::Option* low_rank = add_text(
      command, "--low-rank", "ENERGY",
      "keep matrices of blocks as two factors of the least rank that has\nthis share of the sum of "
      "squared singular values, between 0 and 1, where\nthat makes the file smaller; ranks under "
      "mpirun share the work",
      [&options](const std::string& text) {
        const auto energy = parse_number<double>(text);
        if (!energy || !(*energy > 0 && *energy < 1)) {
          refuse("--low-rank", "a number between 0 and 1, without these", text);
        }
        options.energy = *energy;
      });
  low_rank->excludes(packed);
  CLI::Option* text =
      add_path(
          command, "--text", "FILE", options.text,
          fmt::format("run the result and its source on the first {} tokens of this text,\nand "
                      "report loss and largest error of a logit, for weights of few\nbits, too",
                      kMostComparedTokens))
          ->needs(low_rank);
  add_path(command, "--tokenizer", "T", options.tokenizer, kTokenizerHelp)->needs(text);
  add_count(command, "--expand", options.n_new_blocks, 1, kMostNewBlocks,
            "add so many sparse blocks to an RWKV-7 model, which becomes an\nRWKV-X model with the "
            "same answers, to be trained: each after an equal\nrun of RWKV-7 blocks, with the "
            "projections of the one before it, and\noutput matrices of zeros")
      ->excludes(low_rank);
  add_attention_options(command, options.attention, {AttentionPart::kChunks});
  command.footer(
      "Example:\n  longreach convert --model model.pth --out model.safetensors --dtype bf16\n"
      "  longreach convert --model rwkv7.pth --expand 4 --chunk-size 2048 --out "
      "rwkv-x/model.safetensors\n"
      "  longreach convert --model model.pth --packed --weights int8 --out int8/model.safetensors\n"
      "  mpirun -n 4 longreach convert --model model.pth --low-rank 0.95 --text book.txt --out "
      "small/model.safetensors");
  return command;
}

CLI::App& add_plan(CLI::App& app, PlanOptions& options) {
  CLI::App& command = *app.add_subcommand("plan", "Plan a run on many ranks; runs nothing");
  add_planned_options(command, options.model);
  add_count(command, "--context", options.context_tokens, 1, kMaxTokens,
            "tokens of prompt and continuation")
      ->required();
  add_count(command, "--ranks", options.n_ranks, 1, partition::kMaxRanks,
            "default: stages times shards, else 1");
  add_real(
      command, "--prompt-share", options.prompt_share, 0, 1,
      "how many of the tokens are read as a prompt, 0 (none) to 1;\nstages and shards suit this "
      "mix; default: all but the last 256,\nas in generate");
  add_bytes(command, "--cache-memory", options.cache_memory,
            "the cache lies in the files of a saved context (see read), and each\nrank holds at "
            "most so much of it in memory, e.g. 500M or 4G;\ndefault: all of it is in memory");
  command.add_flag_callback(
      "--json", [&options] { options.format = ListingFormat::kJson; },
      "every rank, as one JSON object");

  const std::string machine = "Machine";
  add_text(
      command, "--topology", "T",
      "a node, as an .xml file of lstopo or a synthetic topology\nof hwloc; default: this node",
      [&options](const std::string& text) { options.topology = text; })
      ->group(machine);
  add_count(command, "--nodes", options.n_nodes, 1, partition::kMaxRanks,
            "how many such nodes; default: a NUMA domain for each rank")
      ->group(machine);
  add_real(command, "--bandwidth", options.domain_gb_per_second, 0.001, 1e6,
           "GB/s that a NUMA domain's cores read from its memory;\ndefault: 10 for each core, at "
           "most 150")
      ->group(machine);
  add_real(command, "--arithmetic", options.core_gflops, 0.001, 1e6,
           "GFLOP/s of a core while it reads prompts, 2 for a multiply-add;\ndefault: 100")
      ->group(machine);
  add_real(command, "--network-latency", options.network_us, 0, 1e6,
           "microseconds from node to node; default: 5")
      ->group(machine);
  add_real(command, "--network-bandwidth", options.network_gb_per_second, 0.001, 1e6,
           "GB/s from node to node; default: 10")
      ->group(machine);
  command.footer(
      "It only computes, and times are estimates from bytes, bandwidths and arithmetic.\n\n"
      "Example:\n  longreach plan --model model.pth --context 1000000 --ranks 8 --topology "
      "'numa:2(memory=128GiB) core:16 pu:1'");
  return command;
}

void add_seed(CLI::App& app, std::uint64_t& seed, const std::string& description) {
  add_text(app, "--seed", "N", description, [&seed](const std::string& text) {
    seed =
        read_integer<std::uint64_t>("--seed", text, 0, std::numeric_limits<std::uint64_t>::max());
  });
}

[[noreturn]] void refuse_url(const std::string& text) { refuse("--url", "http://HOST:PORT", text); }

/// "http://127.0.0.1:8080", "http://[::1]" or "http://name/".
void read_url(const std::string& text, BenchServeOptions& options) {
  constexpr std::string_view kScheme = "http://";
  std::string_view rest = text;
  if (!rest.starts_with(kScheme)) refuse_url(text);
  rest.remove_prefix(kScheme.size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#@ ") != rest.npos) refuse_url(text);
  const bool has_brackets = rest.starts_with('[');
  const std::size_t host_end = has_brackets ? rest.find(']') : rest.find(':');
  if (has_brackets && host_end == rest.npos) refuse_url(text);
  options.host = rest.substr(has_brackets, host_end - has_brackets);
  rest.remove_prefix(
      std::min(host_end == rest.npos ? rest.size() : host_end + has_brackets, rest.size()));
  if (options.host.empty()) refuse_url(text);
  if (rest.empty()) return;
  const auto port = parse_number<std::uint16_t>(rest.substr(1));
  if (rest.front() != ':' || !port || *port == 0) refuse_url(text);
  options.port = *port;
}

/// Needs nothing of what the other questions do.
CLI::App& add_bench_serve(CLI::App& bench, BenchServeOptions& options) {
  CLI::App& command =
      *bench.add_subcommand("serve", "How fast a running server answers many clients");
  add_text(command, "--url", "URL",
           "the server, such as http://127.0.0.1:8080: one that streams\n/v1/completions, this "
           "program's or another",
           [&options](const std::string& text) { read_url(text, options); })
      ->required();
  add_count(command, "--num-prompts", options.n_prompts, 1, kMostPrompts, "requests in all")
      ->default_str(fmt::to_string(options.n_prompts));
  add_text(command, "--request-rate", "X",
           "requests a second, at random times (a Poisson process);\ninf: all at once",
           [&options](const std::string& text) {
             const auto rate = parse_number<double>(text);
             if (!rate || !(*rate >= kLeastRate)) {
               refuse("--request-rate", fmt::format("a number from {} on, or inf", kLeastRate),
                      text);
             }
             options.request_rate = *rate;
           })
      ->default_str("inf");
  add_count(command, "--max-concurrency", options.max_concurrency, 1, kMostPrompts,
            "requests at once, at most: with --request-rate inf, so many\nclients that ask again "
            "when they are answered; default: no\nlimit");
  add_count(command, "--random-input-len", options.n_input, 1, kMaxTokens,
            "random tokens of a prompt, other ones in each")
      ->default_str(fmt::to_string(options.n_input));
  add_count(command, "--random-output-len", options.n_output, 1, kMaxTokens, "tokens of an answer")
      ->default_str(fmt::to_string(options.n_output));
  add_count(command, "--random-prefix-len", options.n_prefix, 0, kMaxTokens,
            "random tokens before those, the same in all prompts")
      ->default_str(fmt::to_string(options.n_prefix));
  add_count(command, "--vocab-size", options.vocab_size, 2, kMostTokenIds,
            "prompts are of tokens 1 to N-1; default: what the server\nsays at /tokenizer_info");
  add_real(command, "--abandon", options.share_abandoned, 0, 1,
           "the share of clients that leave after a random number of\ntokens")
      ->default_str("0");
  add_text(command, "--served-model-name", "NAME", "the model to ask for; default: none is named",
           [&options](const std::string& text) { options.model_name = text; });
  add_path(command, "--api-key-file", "FILE", options.api_key_file,
           "a file of keys, one a line, of which the first is given");
  add_seed(command, options.seed,
           "of prompts and times; a server knows the prompts of a seed\nthat it was asked before; "
           "default: 0");
  command.add_flag_callback(
      "--json", [&options] { options.format = ListingFormat::kJson; },
      "print a JSON object with the names of vllm bench serve, in\nplace of a table");
  // The model is the server's.
  command.preparse_callback(
      [&bench](std::size_t) { bench.get_option("--model")->required(false); });
  command.footer(
      "Example:\n  longreach bench serve --url http://127.0.0.1:8080 --num-prompts 100 "
      "--max-concurrency 16 --random-input-len 512");
  return command;
}

CLI::App& add_bench(CLI::App& app, BenchOptions& options) {
  CLI::App& command = *app.add_subcommand("bench", "Measure speed, with random tokens");
  add_choice<BenchQuestion, BenchQuestion>(command, "QUESTION", options.question,
                                           {{"decode", BenchQuestion::kDecode},
                                            {"prefill", BenchQuestion::kPrefill},
                                            {"mixed", BenchQuestion::kMixed},
                                            {"exchange", BenchQuestion::kExchange},
                                            {"barriers", BenchQuestion::kBarriers}},
                                           "tokens one by one, prompts, a prompt beside tokens of "
                                           "other sequences, messages\nof shards, or threads that "
                                           "wait for each other");
  add_model_options(command, options.model);
  add_repeatable(
      command, "--context", "N,..",
      "decode, mixed, exchange: tokens before those that are timed,\nrandom and not read; prefill: "
      "tokens of the prompt",
      [&options, first = true](const std::string& text) mutable {
        if (std::exchange(first, false)) options.contexts.clear();
        options.contexts.push_back(read_integer<std::size_t>("--context", text, 1, kMaxTokens));
      })
      ->delimiter(',')
      ->default_str("8192");
  add_count(command, "--tokens", options.n_tokens, 1, kMaxTokens,
            "tokens of a repeat, but in prefill; in mixed without the\nprompt, and 256 by default")
      ->default_str("32");
  add_count(command, "--streams", options.n_streams, 1, kMaxStreams,
            "decode, mixed: sequences at once, which share steps; in\nmixed 8 by default")
      ->default_str("1");
  command.add_flag_callback(
      "--forks", [&options] { options.contexts_of_streams = StreamContexts::kForked; },
      "decode, mixed: the streams are forks of one context and\nshare its cache; default: each has "
      "its own");
  add_count(command, "--prompt-tokens", options.n_prompt, kMinMixedPrompt, kMaxTokens,
            "mixed: tokens of the prompt")
      ->default_str("65536");
  add_real(command, "--step-ms", options.step_ms, 0.001, 1e6,
           "mixed: milliseconds that a step may last while sequences\ndecode; default: three times "
           "one without a prompt");
  add_count(command, "--repeats", options.n_repeats, 1, kMaxRepeats,
            "the median counts; in mixed 1 by default")
      ->default_str("5");
  add_count(command, "--warmups", options.n_warmups, 0, kMaxRepeats,
            "repeats before those; in mixed 0 by default")
      ->default_str("1");
  add_count(
      command, "--read-memory", options.read_memory_mib, 1, kMaxReadMib,
      "MiB whose reading is timed for comparison;\ndefault: 1024, or more where caches are large");
  command.footer(
      "Prints one JSON object a line for each context, two in exchange, and one in barriers.\n"
      "`longreach bench serve --help` says how a running server is measured.\n\n"
      "Example:\n  longreach bench decode --model preset:rwkv-x-0.2b --context 8192,65536 "
      "--threads 2");
  return command;
}

/// Rising, each once.
void add_lengths(CLI::App& app, std::vector<std::size_t>& lengths, const std::string& description) {
  add_repeatable(app, "--lengths", "N,..", description,
                 [&lengths](const std::string& text) {
                   lengths.push_back(read_integer<std::size_t>("--lengths", text, 1, kMaxTokens));
                   std::ranges::sort(lengths);
                   lengths.erase(std::ranges::unique(lengths).begin(), lengths.end());
                 })
      ->delimiter(',')
      ->required();
}

void add_files(CLI::App& app, const std::string& name, std::vector<std::filesystem::path>& files,
               const std::string& description) {
  add_repeatable(app, name, "FILE", description, [&files, name](const std::string& text) {
    if (text.empty()) refuse(name, "a path", text);
    files.emplace_back(text);
  })->required();
}

/// The options of one kind of task.
void add_task_options(CLI::App& app, const eval::TaskKind& kind, eval::TaskOptions& task) {
  using eval::TaskForm;
  const TaskForm form = kind.form;
  if (form == TaskForm::kTexts) {
    add_files(app, "--texts", task.files,
              "a text, or a .jsonl file with a field \"text\" in each line;\nmay be repeated");
    add_lengths(app, task.lengths, "positions between which losses are averaged");
    add_count(app, "--skip", task.n_skipped, 0, kMaxTokens,
              "tokens left out at the beginning of a text; default: 0");
    add_count(app, "--samples", task.n_samples, 1, kMaxSamples, "texts at most; default: 100");
    return;
  }
  if (form == TaskForm::kQuestions) {
    add_files(app, "--input", task.files,
              "a JSON object a line: \"input\", perhaps \"answer_prefix\",\nand \"outputs\" or "
              "\"answer\"; may be repeated");
    add_choice<eval::Match, eval::Match>(
        app, "--match", task.match,
        {{"all", eval::Match::kAll}, {"any", eval::Match::kAny}, {"exact", eval::Match::kExact}},
        "score: share of the outputs in the answer, any of them,\nor equal to one")
        ->default_str("all");
  } else {
    add_lengths(app, task.lengths, "tokens of prompt and answer, e.g. 1024,65536");
    if (form != TaskForm::kGenerated) {
      add_count(app, "--depths", task.n_depths, 1, kMaxDepths,
                form == TaskForm::kPasskey
                    ? "places of the key, from the beginning on; default: 10"
                    : "places of the needle; default: anywhere, as in RULER");
    }
    add_count(app, "--samples", task.n_samples, 1, kMaxSamples,
              "questions of each length and depth; default: 5");
    add_seed(app, task.seed, "of the generated texts; default: 0");
  }
  if (form == TaskForm::kPasskey) return;
  add_count(app, "--new-tokens", task.n_new, 1, kMaxTokens,
            "tokens of an answer at most; default: the task's");
  app.add_flag_callback(
      "--stop-at-line-end", [&task] { task.stop_text = "\n"; }, "an answer ends with its line");
}

CLI::App& add_eval(CLI::App& app, EvalOptions& options) {
  CLI::App& command = *app.add_subcommand("eval", "Ask a model questions about long contexts");
  command.require_subcommand(0, 1);
  for (const eval::TaskKind& kind : eval::task_kinds()) {
    CLI::App& task = *command.add_subcommand(std::string(kind.name), std::string(kind.summary));
    add_model_options(task, options.model);
    add_state_options(task, options.model);
    add_path(task, "--tokenizer", "T", options.tokenizer, kTokenizerHelp);
    add_bos(task, options.bos);
    add_task_options(task, kind, options.task);
    add_path(task, "--out", "FILE", options.out,
             "results, one JSON object a question; a run that was\nstopped goes on where its file "
             "ends")
        ->required();
    add_path(task, "--csv", "FILE", options.csv, "write the summary there, too");
    if (kind.form != eval::TaskForm::kTexts) {
      add_path(task, "--svg", "FILE", options.svg, "draw scores by depth and length");
      add_path(task, "--png", "FILE", options.png,
               "the same as PNG, by the tool rsvg-convert if it is there");
    }
    const bool has_needle =
        kind.form == eval::TaskForm::kPasskey || kind.form == eval::TaskForm::kNeedles;
    if (has_needle) {
      task.add_flag_callback(
          "--evidence", [&options] { options.task.wants_evidence = true; },
          "report whether the passages that an answer looks at hold the\nneedle");
    }
    CLI::Option* selection_mass = add_path(
        task, "--selection-mass", "FILE", options.selection_mass,
        "measure which share of full attention lies in the chunks that\nqueries choose, by block "
        "and head: a table, and a CSV there");
    add_count(task, "--mass-one-in", options.mass_one_in, 1, kMaxTokens,
              "measure one query in so many, and all that choose a token of\nan answer; one costs "
              "what full attention does")
        ->default_str("64")
        ->needs(selection_mass);
    if (has_needle) selection_mass->excludes("--evidence");
    CLI::Option* contexts =
        add_path(task, "--contexts", "DIR", options.contexts,
                 kind.form == eval::TaskForm::kTexts
                     ? "as of other tasks; of no use here, where every token of a text\ncounts, so "
                       "that all of them are read"
                     : "a folder of contexts that read made: prompts that begin with\ntheir texts "
                       "go on from there; changes no result");
    contexts->excludes(selection_mass)->group("Running");
    add_cache_memory(task, options.cache_memory)->needs(contexts)->group("Running");
    add_any_isa(task, options.any_isa)->needs(contexts)->group("Running");
    task.add_flag_callback(
            "--no-sharing", [&options] { options.shares_prefixes = false; },
            "read every prompt from its beginning; changes no result")
        ->excludes(contexts)
        ->group("Running");
    add_batch_options(task, options.batch, "questions");
    task.callback([&options, &kind] { options.kind = &kind; });
    task.footer("A summary goes to standard output. Answers are greedy.");
  }
  command.footer(
      "longreach eval TASK --help shows the options of a task.\n\n"
      "Example:\n  longreach eval passkey --model model.pth --lengths 1024,65536 --depths 10 "
      "--samples 5 --seed 1 --out passkey.jsonl --svg passkey.svg");
  return command;
}

CLI::App& add_serve(CLI::App& app, ServeOptions& options) {
  CLI::App& command =
      *app.add_subcommand("serve", "Answer requests over HTTP, as the OpenAI interface has them");
  add_model_options(command, options.model);
  add_state(command, options.model);
  add_path(command, "--states", "DIR", options.states,
           "a folder of such files, which requests name without their endings:\n\"longreach\": "
           "{\"state\": \"NAME\"}");
  add_state_axes(command, options.model);
  add_path(command, "--tokenizer", "T", options.tokenizer, kTokenizerHelp);
  add_bos(command, options.bos);
  add_path(command, "--host", "NAME", options.host,
           "the address to listen at; 0.0.0.0: all of this machine's")
      ->default_str(options.host);
  add_count(command, "--port", options.port, 0, std::numeric_limits<std::uint16_t>::max(),
            "0: any that is free; the one there is, is reported")
      ->default_str(fmt::to_string(options.port));
  add_path(
      command, "--chat-template", "FILE", options.chat_template,
      "how chats are written, as JSON: {\"user\": \"User: {}\\n\\n\", \"assistant\":\n.., "
      "\"system\": .., \"answer\": \"Assistant:\", \"stop\": [..]}; default: as\nRWKV World and "
      "G1 models know them")
      ->group("Running");
  add_path(command, "--api-key-file", "FILE", options.api_key_file,
           "keys, one a line, of which a client must give one; default:\nall may ask");
  add_count(command, "--context-length", options.context_tokens, 1, kMaxTokens,
            "tokens of a prompt and its answer, at most")
      ->default_str(fmt::to_string(options.context_tokens));
  add_count(command, "--parallel", options.n_parallel, 1, model::kStepRows,
            "texts that are generated at once, at most, if memory allows")
      ->default_str(fmt::to_string(options.n_parallel))
      ->group("Running");
  add_count(command, "--max-waiting", options.max_waiting, 0, 1'000'000,
            "texts that wait beside those; what comes then is refused")
      ->default_str(fmt::to_string(options.max_waiting))
      ->group("Running");
  CLI::Option* const contexts =
      add_path(
          command, "--contexts", "DIR", options.contexts,
          "a folder of contexts, made if it is not there: prompts that begin\nwith their texts "
          "go on from there, POST /v1/contexts adds more, and long prompts are\nkept in it")
          ->group("Running");
  add_text(command, "--contexts-size", "SIZE",
           "prompts are kept as long as all contexts take no more than so much of\nthe disk; those "
           "not used for longest give way; 0: none is kept;\ndefault: half of what is free and "
           "what they take",
           [&options](const std::string& text) {
             options.contexts_bytes = text == "0" ? 0 : read_bytes("--contexts-size", text);
           })
      ->needs(contexts)
      ->group("Running");
  add_states_every(command, options.states_every)->needs(contexts)->group("Running");
  add_cache_memory(command, options.cache_memory)->needs(contexts)->group("Running");
  command.footer(
      "Ctrl-C or SIGTERM takes no more requests and ends when the last one is answered; a second\n"
      "one ends at once.\n\n"
      "Example:\n  longreach serve --model model.pth --port 8080\n"
      "  curl http://127.0.0.1:8080/v1/completions -d '{\"prompt\": \"The grass is\"}'");
  return command;
}

/// Of options that report what queries see in modes moba and full.
void check_sees_chunks(std::string_view option, const model::AttentionConfig& attention) {
  const model::AttentionMode mode = attention.mode;
  if (mode == model::AttentionMode::kMoba || mode == model::AttentionMode::kFull) return;
  base::input_error("{}: expected --attention moba or full, found {}", option,
                    model::name_of(mode));
}

void check(EvalOptions& options) {
  if (options.kind == nullptr) {
    std::string names;
    for (const eval::TaskKind& kind : eval::task_kinds()) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", kind.name);
    }
    base::input_error("eval: expected a task: {}", names);
  }
  check_attention(options.model.attention);
  if (options.selection_mass) check_sees_chunks("--selection-mass", options.model.attention);
  if (options.task.wants_evidence) check_sees_chunks("--evidence", options.model.attention);
  if (options.kind->form == eval::TaskForm::kPasskey && options.task.n_depths == 0) {
    options.task.n_depths = 10;
  }
}

void check(const BenchServeOptions& options) {
  if (options.share_abandoned > 0 && options.n_output < 2) {
    base::input_error(
        "--abandon: clients leave before the last token, so expected --random-output-len 2 or "
        "more, found {}",
        options.n_output);
  }
}

/// Completes what depends on the question.
void check(const CLI::App& command, BenchOptions& options) {
  // Were it required, CLI11 would take the name of a subcommand for it.
  if (command.count("QUESTION") == 0) base::input_error("QUESTION is required");
  check_attention(options.model.attention);
  const bool mixed = options.question == BenchQuestion::kMixed;
  if (mixed) {
    const auto set = [&](const char* name, std::size_t& target, std::size_t value) {
      if (command.count(name) == 0) target = value;
    };
    set("--streams", options.n_streams, 8);
    set("--tokens", options.n_tokens, 256);  // for a 99th percentile
    set("--repeats", options.n_repeats, 1);  // of a long prompt
    set("--warmups", options.n_warmups, 0);
  }
  if (options.model.attention.mode != model::AttentionMode::kReference) return;
  if (mixed) {
    base::input_error(
        "--attention reference: a call reads one sequence, so bench mixed has nothing to measure");
  }
  if (options.question == BenchQuestion::kDecode && options.n_streams > 1) {
    base::input_error(
        "--streams: with --attention reference a call reads one sequence, so expected 1, found {}",
        options.n_streams);
  }
}

/// What is wrong with a command line. What nobody expected is named first, as a misspelt option
/// also leaves a required one out.
std::string sentence_of(const CLI::ParseError& error, const CLI::App& app) {
  if (const auto unexpected = app.remaining(true); !unexpected.empty()) {
    return fmt::format("unexpected on the command line: {}", fmt::join(unexpected, " "));
  }
  std::string sentence = error.what();
  if (sentence.starts_with("The ")) sentence.front() = 't';
  return sentence;
}

}  // namespace

Command parse_options(int argc, const char* const* argv) {
  CLI::App app("longreach runs RWKV-X language models over very long contexts", "longreach");
  app.set_version_flag("--version", "longreach " LONGREACH_VERSION);
  app.footer(
      "longreach COMMAND --help shows the options of a command.\n\n"
      "Example:\n  longreach generate --model model.pth --prompt 'Once upon a time' -n 50");
  GenerateOptions generate;
  ReadOptions read;
  ContextOptions context;
  LogitsOptions logits;
  TokenizeOptions tokenize;
  InspectOptions inspect;
  ConvertOptions convert;
  PlanOptions plan;
  BenchOptions bench;
  BenchServeOptions bench_serve;
  EvalOptions eval;
  ServeOptions serve;
  const CLI::App& generate_command = add_generate(app, generate);
  const CLI::App& read_command = add_read(app, read);
  const CLI::App& context_command = add_context_command(app, context);
  const CLI::App& logits_command = add_logits(app, logits);
  const CLI::App& tokenize_command = add_tokenize(app, tokenize);
  add_inspect(app, inspect);
  const CLI::App& convert_command = add_convert(app, convert);
  const CLI::App& plan_command = add_plan(app, plan);
  CLI::App& bench_command = add_bench(app, bench);
  const CLI::App& bench_serve_command = add_bench_serve(bench_command, bench_serve);
  const CLI::App& eval_command = add_eval(app, eval);
  const CLI::App& serve_command = add_serve(app, serve);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return HelpText{app.help()};
  } catch (const CLI::CallForVersion& version) {
    return HelpText{version.what() + std::string("\n")};
  } catch (const CLI::ParseError& error) {
    throw base::InputError(sentence_of(error, app));
  }
  if (app.get_subcommands().empty()) {
    base::input_error(
        "expected a command: generate, read, context, logits, tokenize, inspect, convert, plan, "
        "bench, eval or serve (longreach --help says more)");
  }
  if (generate_command.parsed()) {
    check_attention(generate.model.attention);
    generate.wants_evidence = generate_command.count("--evidence") > 0;
    if (generate.wants_evidence) check_sees_chunks("--evidence", generate.model.attention);
    return generate;
  }
  if (read_command.parsed()) {
    check_attention(read.model.attention);
    return read;
  }
  if (context_command.parsed()) {
    check_attention(context.model.attention);
    return context;
  }
  if (logits_command.parsed()) {
    check_attention(logits.model.attention);
    return logits;
  }
  if (tokenize_command.parsed()) {
    if (tokenize.model.empty() && tokenize.tokenizer.empty()) {
      base::input_error("tokenize: expected --model or --tokenizer");
    }
    if (tokenize.text && tokenize.direction == TokenizeDirection::kDecode) {
      base::input_error(
          "--text: cannot be decoded, give the token ids as --file or standard input");
    }
    return tokenize;
  }
  if (convert_command.parsed()) return convert;
  if (plan_command.parsed()) {
    check_attention(plan.model.attention);
    return plan;
  }
  if (bench_serve_command.parsed()) {
    check(bench_serve);
    return bench_serve;
  }
  if (bench_command.parsed()) {
    check(bench_command, bench);
    return bench;
  }
  if (eval_command.parsed()) {
    check(eval);
    return eval;
  }
  if (serve_command.parsed()) {
    check_attention(serve.model.attention);
    return serve;
  }
  return inspect;
}

}  // namespace longreach::launch
