// A picture of pictures with captions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "instructblip/image_processing/image.h"

namespace examples {

/// A line of text over pictures with captions.
struct SheetSection {
  struct Cell {
    instructblip::Image image;
    std::string caption;
  };
  std::string heading;
  std::vector<Cell> cells;
};

/// Writes a PNG file: below each other the sections, whose pictures are shrunk into cells, at most
/// five in a row. Text is shown in ASCII; other characters become "?", and lines are cut off where
/// they do not fit. Throws InputError if the file cannot be written.
void write_contact_sheet(const std::filesystem::path& path,
                         const std::vector<SheetSection>& sections);

}  // namespace examples
