// Pictures named on the command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "instructblip/image_processing/image.h"

namespace examples {

/// For --help.
constexpr const char* kPictureHelp = "JPEG, PNG, WebP, GIF, BMP or PNM; - is standard input";

/// Opens a picture; "-" is read from standard input. Throws ImageError, naming the picture.
instructblip::Image open_picture(const std::filesystem::path& path);
std::vector<instructblip::Image> open_pictures(const std::vector<std::filesystem::path>& paths);

/// The files that are meant by names of files, folders (their pictures by name, not hidden ones;
/// with `recursive`, those in their folders, too) and patterns ("*.jpg", for a shell that does not
/// expand them). "-" is kept. Throws InputError if a folder has no picture, nothing matches a
/// pattern or a file does not exist.
std::vector<std::filesystem::path> find_pictures(const std::vector<std::string>& names,
                                                 bool recursive);

/// Throws InputError unless the file can be written. Leaves an existing file as it is.
void require_writable(const std::filesystem::path& path);

}  // namespace examples
