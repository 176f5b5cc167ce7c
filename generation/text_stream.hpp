/// From the bytes of generated tokens to text that may be printed at once: whole UTF-8 characters,
/// and nothing that may turn out to belong to a stop string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace longreach::generation {

/// One generated text. However its bytes are split into pushes, the pieces given out are the same
/// together.
class TextStream {
 public:
  /// Stop strings are compared byte by byte; where several end at the same byte, the longest
  /// counts. Errors: InputError naming --stop if one of them is empty.
  explicit TextStream(std::vector<std::string> stop_strings = {});

  /// Takes the next bytes and gives the text that is certain by now, valid UTF-8: invalid bytes
  /// have become U+FFFD. Once a stop string was met nothing more comes; it and what follows are
  /// never given out.
  std::string push(std::string_view bytes);

  /// Ends the text and gives what was held back: the beginning of a stop string that did not come,
  /// and U+FFFD for the beginning of a character that did not.
  std::string flush();

  /// Whether a stop string was met.
  bool stopped() const { return stopped_; }

 private:
  /// A stop string and how much of it the bytes seen last are (Knuth-Morris-Pratt).
  struct Stop {
    std::string text;
    std::vector<std::size_t> fallback;  ///< [n - 1]: the longest proper beginning of the first n
                                        ///< bytes that also ends them.
    std::size_t matched_bytes = 0;

    explicit Stop(std::string stop_text);
    void advance(char byte);
  };

  /// Takes one byte: into held_, from there to undecoded_ as soon as no stop string can hold it.
  void take(char byte);
  /// Takes the whole characters out of undecoded_.
  std::string decode();

  std::vector<Stop> stops_;
  std::string held_;       ///< The end of the bytes seen that may become a stop string.
  std::string undecoded_;  ///< Before held_: free of stop strings, not yet given out.
  bool stopped_ = false;
};

}  // namespace longreach::generation
