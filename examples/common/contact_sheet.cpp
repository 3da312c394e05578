#include "contact_sheet.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>

#include "instructblip/core/error.h"
#include "instructblip/image_processing/resize.h"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb/stb_easy_font.h>
#include <stb/stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace examples {

using namespace instructblip;

namespace {

constexpr Index kCell = 224, kGap = 12, kLine = 12, kColumns = 5;
constexpr Index kScale = 2;  // pixels per pixel of the font
constexpr std::uint8_t kInk = 32, kPaper = 250;

void fill(Image& sheet, Index left, Index top, Index width, Index height, std::uint8_t shade) {
  const Index right = std::min(left + width, sheet.width());
  for (Index y = std::max<Index>(top, 0); y < std::min(top + height, sheet.height()); ++y) {
    if (left < right) std::fill(sheet.row(y) + 3 * left, sheet.row(y) + 3 * right, shade);
  }
}

// The text as far as it is ASCII and fits into `width` pixels.
std::string fitting(std::string text, Index width) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  while (!text.empty() && stb_easy_font_width(text.data()) * kScale > width) text.pop_back();
  return text;
}

void write_text(Image& sheet, Index left, Index top, Index width, const std::string& given) {
  std::string text = fitting(given, width);
  struct Vertex {
    float x, y, z;
    std::array<std::uint8_t, 4> color;
  };
  std::vector<Vertex> vertices(text.size() * 80 + 4);  // at most 270 bytes per character
  const int quads = stb_easy_font_print(0, 0, text.data(), nullptr, vertices.data(),
                                        static_cast<int>(vertices.size() * sizeof(Vertex)));
  for (std::size_t i = 0; i < static_cast<std::size_t>(quads); ++i) {
    const Vertex &first = vertices[4 * i], &third = vertices[4 * i + 2];
    const auto pixels = [](float units) { return static_cast<Index>(units * float{kScale}); };
    fill(sheet, left + pixels(first.x), top + pixels(first.y), pixels(third.x - first.x),
         pixels(third.y - first.y), kInk);
  }
}

// The picture, shrunk in its proportions, in the middle of a cell.
void place(Image& sheet, const Image& given, Index left, Index top) {
  const Image image = given.to_rgb();
  const Index side = std::max(image.width(), image.height());
  const Index width = std::max<Index>(1, image.width() * kCell / side);
  const Index height = std::max<Index>(1, image.height() * kCell / side);
  const Image small = resize(image, width, height, Resampling::Lanczos);
  for (Index y = 0; y < height; ++y) {
    std::copy_n(small.row(y), 3 * width,
                sheet.row(top + (kCell - height) / 2 + y) + 3 * (left + (kCell - width) / 2));
  }
}

Index rows_of(const SheetSection& section) {
  return (std::ssize(section.cells) + kColumns - 1) / kColumns;
}

}  // namespace

void write_contact_sheet(const std::filesystem::path& path,
                         const std::vector<SheetSection>& sections) {
  constexpr Index kText = kLine * kScale, kRow = kCell + kText + kGap;
  Index columns = 1, height = kGap;
  for (const SheetSection& section : sections) {
    columns = std::max(columns, std::min(std::ssize(section.cells), kColumns));
    height += kText + kGap + rows_of(section) * kRow;
  }
  Image sheet(kGap + columns * (kCell + kGap), height);
  fill(sheet, 0, 0, sheet.width(), sheet.height(), kPaper);
  Index top = kGap;
  for (const SheetSection& section : sections) {
    write_text(sheet, kGap, top, sheet.width() - 2 * kGap, section.heading);
    top += kText + kGap;
    for (std::size_t i = 0; i < section.cells.size(); ++i) {
      const Index left = kGap + static_cast<Index>(i) % kColumns * (kCell + kGap);
      const Index above = top + static_cast<Index>(i) / kColumns * kRow;
      place(sheet, section.cells[i].image, left, above);
      write_text(sheet, left, above + kCell + kGap / 2, kCell, section.cells[i].caption);
    }
    top += rows_of(section) * kRow;
  }
  std::ofstream file(path, std::ios::binary);
  const auto write = [](void* stream, void* data, int size) {
    static_cast<std::ofstream*>(stream)->write(static_cast<const char*>(data), size);
  };
  stbi_write_png_to_func(write, &file, static_cast<int>(sheet.width()),
                         static_cast<int>(sheet.height()), 3, sheet.pixels().data(), 0);
  if (!file.flush()) throw InputError(path.string() + ": cannot be written");
}

}  // namespace examples
