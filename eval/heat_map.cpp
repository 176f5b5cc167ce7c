#include "eval/summary.hpp"
#include "kernels/base/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace longreach::eval {
namespace {

// Pixels.
constexpr double kCellWidth = 62, kCellHeight = 34;
constexpr double kLeft = 76, kTop = 52, kBottom = 92;
constexpr double kLegendGap = 28, kLegendWidth = 18, kRight = 110;
constexpr double kTitleSize = 15, kCaptionSize = 11;

struct Colour {
  double red, green, blue;  ///< 0 to 1.
};

/// From dark to light with rising score: lightness alone shows it.
constexpr std::array<Colour, 4> kColours{
    {{0.16, 0.05, 0.33}, {0.13, 0.36, 0.55}, {0.30, 0.71, 0.50}, {0.98, 0.96, 0.72}}};

Colour colour_of(double score) {
  const double place = std::clamp(score, 0.0, 1.0) * (kColours.size() - 1);
  const std::size_t low = std::min(static_cast<std::size_t>(place), kColours.size() - 2);
  const double share = place - static_cast<double>(low);
  const auto mixed = [&](double Colour::*part) {
    return kColours[low].*part * (1 - share) + kColours[low + 1].*part * share;
  };
  return {mixed(&Colour::red), mixed(&Colour::green), mixed(&Colour::blue)};
}

std::string hex(const Colour& colour) {
  const auto byte = [](double part) { return static_cast<int>(std::lround(255 * part)); };
  return fmt::format("#{:02x}{:02x}{:02x}", byte(colour.red), byte(colour.green),
                     byte(colour.blue));
}

/// Black or white, whichever is read more easily on the colour.
std::string_view ink_on(const Colour& colour) {
  const double lightness = 0.299 * colour.red + 0.587 * colour.green + 0.114 * colour.blue;
  return lightness > 0.5 ? "#000" : "#fff";
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c >= 0 && c < ' ') {
      result += ' ';  // a name may hold what no XML can
    } else {
      result += c;
    }
  }
  return result;
}

/// An SVG being written.
class Drawing {
 public:
  Drawing(double width, double height) {
    add(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
        R"(font-family="sans-serif" font-size="13">)",
        width, height);
    add(R"(<defs><pattern id="none" width="6" height="6" patternUnits="userSpaceOnUse">)"
        R"(<rect width="6" height="6" fill="#fff"/><path d="M0 6L6 0" stroke="#888"/>)"
        R"(</pattern></defs>)");
    add(R"(<rect width="{}" height="{}" fill="#fff"/>)", width, height);
  }

  void box(double x, double y, double width, double height, std::string_view fill) {
    add(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="{}" stroke="#fff"/>)", x, y, width,
        height, fill);
  }
  /// anchor: start, middle or end. more: further attributes.
  void text(double x, double y, std::string_view anchor, std::string_view content,
            std::string_view more = "") {
    add(R"(<text x="{}" y="{}" text-anchor="{}"{}>{}</text>)", x, y, anchor, more,
        escaped(content));
  }
  std::string finish() { return text_ + "</svg>\n"; }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
  }

  std::string text_;
};

template <typename T, typename Get>
std::vector<T> different(const std::vector<Cell>& cells, Get&& get) {
  std::vector<T> values;
  for (const Cell& cell : cells) values.push_back(get(cell));
  std::ranges::sort(values);
  values.erase(std::ranges::unique(values).begin(), values.end());
  return values;
}

void draw_cell(Drawing& drawing, double x, double y, const Cell* cell) {
  const Colour colour = cell ? colour_of(cell->mean_score) : Colour{};
  drawing.box(x, y, kCellWidth, kCellHeight, cell ? hex(colour) : "url(#none)");
  if (!cell) return;
  drawing.text(x + kCellWidth / 2, y + kCellHeight / 2 + 4.5, "middle",
               fmt::format("{:.0f}", 100 * cell->mean_score),
               fmt::format(R"( fill="{}")", ink_on(colour)));
}

void draw_legend(Drawing& drawing, double x, double height) {
  constexpr int kSteps = 20;
  const double step = height / kSteps;
  for (int i = 0; i < kSteps; ++i) {
    const double score = 1 - (i + 0.5) / kSteps;
    drawing.box(x, kTop + i * step, kLegendWidth, step, hex(colour_of(score)));
  }
  for (const int percent : {0, 50, 100}) {
    drawing.text(x + kLegendWidth + 6, kTop + height * (100 - percent) / 100 + 4.5, "start",
                 fmt::format("{}%", percent));
  }
}

/// No less than a line of text takes from kLeft on: the font is the viewer's.
double right_of(std::string_view text, double font_size) {
  constexpr double kWidestMean = 0.68;  // of a letter, over its size
  return kLeft + kWidestMean * font_size * static_cast<double>(text.size());
}

/// "5 questions a cell", or "1 to 5".
std::string counts_text(const std::vector<Cell>& cells) {
  const auto [least, most] = std::ranges::minmax(cells, {}, &Cell::n_questions);
  if (least.n_questions == most.n_questions) {
    return fmt::format("{} question{} a cell", most.n_questions, most.n_questions == 1 ? "" : "s");
  }
  return fmt::format("{} to {} questions a cell", least.n_questions, most.n_questions);
}

}  // namespace

std::string heat_map(const Summary& summary, std::string_view caption) {
  LR_CHECK(!summary.cells.empty());
  const auto lengths =
      different<std::size_t>(summary.cells, [](const Cell& cell) { return cell.length; });
  const auto depths = different<std::optional<double>>(
      summary.cells, [](const Cell& cell) { return cell.depth_percent; });
  const double width = kCellWidth * static_cast<double>(lengths.size());
  const double height = kCellHeight * static_cast<double>(depths.size());
  const std::string title =
      fmt::format("{}: score in percent, {}", summary.task, counts_text(summary.cells));
  Drawing drawing(std::max({kLeft + width + kLegendGap + kLegendWidth + kRight,
                            right_of(title, kTitleSize), right_of(caption, kCaptionSize)}),
                  kTop + height + kBottom);
  drawing.text(kLeft, 24, "start", title,
               fmt::format(R"( font-size="{}" font-weight="bold")", kTitleSize));
  drawing.text(kLeft + width / 2, kTop + height + 44, "middle", "context in tokens");
  for (std::size_t row = 0; row < depths.size(); ++row) {
    const double y = kTop + kCellHeight * static_cast<double>(row);
    const auto& depth = depths[row];
    drawing.text(kLeft - 8, y + kCellHeight / 2 + 4.5, "end",
                 depth ? fmt::format("{:.0f}%", *depth) : "all");
    for (std::size_t column = 0; column < lengths.size(); ++column) {
      const auto cell = std::ranges::find_if(summary.cells, [&](const Cell& c) {
        return c.length == lengths[column] && c.depth_percent == depth;
      });
      draw_cell(drawing, kLeft + kCellWidth * static_cast<double>(column), y,
                cell == summary.cells.end() ? nullptr : &*cell);
    }
  }
  for (std::size_t column = 0; column < lengths.size(); ++column) {
    drawing.text(kLeft + kCellWidth * (static_cast<double>(column) + 0.5), kTop + height + 20,
                 "middle", length_text(lengths[column]));
  }
  drawing.text(20, kTop + height / 2, "middle", "depth of the answer",
               fmt::format(R"_( transform="rotate(-90 20 {})")_", kTop + height / 2));
  draw_legend(drawing, kLeft + width + kLegendGap, height);
  drawing.text(kLeft, kTop + height + 76, "start", caption,
               fmt::format(R"( font-size="{}" fill="#444")", kCaptionSize));
  return drawing.finish();
}

}  // namespace longreach::eval
