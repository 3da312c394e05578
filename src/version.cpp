#include "instructblip/version.h"

#include "instructblip/core/threads.h"
#include "instructblip/kernels/dispatch.h"

namespace instructblip {

std::string version() { return INSTRUCTBLIP_VERSION; }

std::string build_info() {
#if defined(__clang__)
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "gcc " __VERSION__;
#endif
#ifdef INSTRUCTBLIP_HAVE_JPEG
  const std::string jpeg = "libjpeg";
#else
  const std::string jpeg = "stb_image";
#endif
#ifdef INSTRUCTBLIP_HAVE_WEBP
  const std::string webp = "libwebp";
#else
  const std::string webp = "nothing";
#endif
  const int threads = num_threads();
  return "instructblip " + version() + ", " + compiler + ", kernels " + kernel_level() + ", " +
         std::to_string(threads) + (threads == 1 ? " thread" : " threads") + ", JPEG by " + jpeg +
         ", WebP by " + webp;
}

}  // namespace instructblip
