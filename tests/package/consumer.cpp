// A program outside the project. Memory and exceptions cross the library's boundary in both
// directions.
#include <cstdio>
#include <string>

#include "instructblip/instructblip.h"

#ifdef CONSUMER_HAS_PROTOBUF
#include <google/protobuf/timestamp.pb.h>
#endif

int main() {
  using namespace instructblip;
  if (version() != INSTRUCTBLIP_VERSION) return 1;

  // Memory allocated by the library and freed here, and vice versa.
  Tensor tensor(std::vector<float>{3, 4, 6, 8}, {2, 2});
  Matrix rows = Matrix::from(tensor);
  const std::vector<float> ones(2, 1.0f);
  rms_norm(rows, ones.data(), 0.0f, rows);
  if (rows.to_tensor().size() != 4) return 2;

  // An exception thrown inside the library and caught here, by its own type and by its base.
  try {
    tensor.reshaped({3});
    return 3;
  } catch (const InputError&) {
  }
  try {
    InstructBlipConfig::from_json("{ not json");
    return 4;
  } catch (const Error& error) {
    if (std::string(error.what()).empty()) return 5;
  }
  // The image decoders and libjpeg are linked with a static library.
  const std::string gray = "P5 2 1 255 \x10\x20", broken = "\xff\xd8\xff\xe0";
  const auto open = [](const std::string& file) {
    return Image::open({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
  };
  const Tensor pixels = BlipImageProcessor()({open(gray)}, {.do_resize = false});
  if (pixels.shape() != Shape{1, 3, 1, 2}) return 7;
  try {
    open(broken);
    return 8;
  } catch (const ImageError&) {
  }
#ifdef CONSUMER_HAS_PROTOBUF
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(1);
  if (timestamp.ByteSizeLong() == 0) return 6;
#endif
  std::puts(build_info().c_str());
  return 0;
}
