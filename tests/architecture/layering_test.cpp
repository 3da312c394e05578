// Rules that the compiler does not check: which layer may include which others, and what the public
// headers may include.
#include <regex>
#include <set>

namespace instructblip {
namespace {

namespace fs = std::filesystem;

struct Include {
  fs::path file;  // relative to the source directory
  std::string target;
};

std::vector<Include> includes_below(const std::string& folder) {
  static const std::regex pattern(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::vector<Include> includes;
  const fs::path root = INSTRUCTBLIP_SOURCE_DIR;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cpp") continue;
    std::ifstream file(entry.path());
    std::smatch match;
    for (std::string line; std::getline(file, line);) {
      if (std::regex_search(line, match, pattern)) {
        includes.push_back({fs::relative(entry.path(), root), match[1]});
      }
    }
  }
  return includes;
}

// The layers that each layer may include, besides itself.
const std::map<std::string, std::set<std::string>>& known_layers() {
  static const std::map<std::string, std::set<std::string>> known = [] {
    std::map<std::string, std::set<std::string>> layers;
    layers["core"] = {};
    for (const char* name :
         {"kernels", "configuration", "image_processing", "checkpoint", "tokenization"}) {
      layers[name] = {"core"};
    }
    layers["processing"] = {"core", "image_processing", "tokenization"};
    layers["layers"] = {"core", "kernels", "checkpoint", "configuration"};
    layers["generation"] = {"core",       "kernels", "configuration",
                            "checkpoint", "layers",  "tokenization"};
    layers["models"] = layers["generation"];
    layers["models"].insert("generation");
    layers["tasks"] = layers["models"];
    layers["tasks"].insert({"models", "processing", "image_processing"});
    return layers;
  }();
  return known;
}

// "include/instructblip/core/tensor.h" -> "core"; "" for a file outside the layers (the umbrella
// header, version).
std::string layer_of(const fs::path& path) {
  std::vector<std::string> parts;
  for (const auto& part : path) parts.push_back(part.string());
  const std::size_t first = parts[0] == "include" ? 2 : parts[0] == "src" ? 1 : 0;
  return parts.size() > first + 1 ? parts[first] : "";
}

// "instructblip/core/tensor.h" or, in src, "kernels/kernel_table.h" -> its layer; "" if it has
// none.
std::string layer_of_target(std::string target) {
  const std::string prefix = "instructblip/";
  if (target.starts_with(prefix)) target.erase(0, prefix.size());
  const std::string layer = target.substr(0, target.find('/'));
  return known_layers().contains(layer) ? layer : "";
}

TEST(LayeringTest, NoFileIncludesALayerAboveItsOwn) {
  int checked = 0;
  for (const char* folder : {"include", "src"}) {
    for (const Include& include : includes_below(folder)) {
      const std::string from = layer_of(include.file);
      const std::string to = layer_of_target(include.target);
      if (from.empty() || to.empty() || from == to || !known_layers().contains(from)) continue;
      ++checked;
      EXPECT_TRUE(known_layers().at(from).contains(to))
          << include.file << " (layer " << from << ") includes " << include.target;
    }
  }
  EXPECT_GT(checked, 20);
}

TEST(LayeringTest, EveryFolderOfTheLibraryIsAKnownLayer) {
  for (const auto& entry :
       fs::directory_iterator(fs::path(INSTRUCTBLIP_SOURCE_DIR) / "include/instructblip")) {
    if (entry.is_directory()) {
      EXPECT_TRUE(known_layers().contains(entry.path().filename().string())) << entry.path();
    }
  }
}

TEST(LayeringTest, HeadersAndTestsIncludeNeitherEigenNorJson) {
  for (const char* folder : {"include", "tests"}) {
    for (const Include& include : includes_below(folder)) {
      if (include.file.filename() == "eigen.h") continue;
      EXPECT_FALSE(include.target.starts_with("Eigen/") || include.target.starts_with("nlohmann/"))
          << include.file << " includes " << include.target;
    }
  }
}

TEST(LayeringTest, PublicHeadersIncludeOnlyStandardAndOwnHeaders) {
  static const std::regex standard("[a-z_]+");  // <sys/mman.h> and <sched.h> are not
  const fs::path root = INSTRUCTBLIP_SOURCE_DIR;
  int checked = 0;
  for (const Include& include : includes_below("include")) {
    if (include.file.filename() == "eigen.h" && include.target == "Eigen/Core") continue;
    ++checked;
    EXPECT_TRUE(std::regex_match(include.target, standard) ||
                (include.target.starts_with("instructblip/") &&
                 fs::exists(root / "include" / include.target)))
        << include.file << " includes " << include.target;
  }
  EXPECT_GT(checked, 100);
}

// Only export.h may, inside #if.
TEST(LayeringTest, PublicHeadersUseNoExtensionsOfACompiler) {
  static const std::regex extension(
      R"(\b(__attribute__|__builtin_\w+|__int128|__restrict|ssize_t)\b)");
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(INSTRUCTBLIP_SOURCE_DIR) / "include")) {
    if (!entry.is_regular_file() || entry.path().filename() == "export.h") continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      EXPECT_FALSE(std::regex_search(line, extension)) << entry.path() << ": " << line;
    }
  }
}

TEST(LayeringTest, GenerationIncludesNoModelAndModelsIncludeNoProcessor) {
  for (const Include& include : includes_below("include/instructblip")) {
    const std::string from = layer_of(include.file);
    const std::string to = layer_of_target(include.target);
    EXPECT_FALSE(from == "generation" && to == "models") << include.file;
    EXPECT_FALSE(from == "models" && to == "processing") << include.file;
  }
}

TEST(Readme, ListsEveryOptionOfTheBuild) {
  const fs::path root = INSTRUCTBLIP_SOURCE_DIR;
  std::ifstream file(root / "README.md");
  const std::string readme(std::istreambuf_iterator<char>(file), {});
  std::vector<fs::path> build_files = {root / "CMakeLists.txt"};
  for (const auto& entry : fs::directory_iterator(root / "cmake")) {
    if (entry.path().extension() == ".cmake") build_files.push_back(entry.path());
  }
  static const std::regex option(R"(^\s*option\((\w+))");
  int options = 0;
  for (const fs::path& build_file : build_files) {
    std::ifstream lines(build_file);
    std::smatch match;
    for (std::string line; std::getline(lines, line);) {
      if (!std::regex_search(line, match, option)) continue;
      ++options;
      EXPECT_NE(readme.find("| `" + match[1].str() + "` |"), std::string::npos) << line;
    }
  }
  EXPECT_GE(options, 8);
}

// Each row of "Differences from transformers" names the tests of the difference, or "-" if there is
// nothing to test.
TEST(Readme, EveryTestThatItNamesExists) {
  const fs::path root = INSTRUCTBLIP_SOURCE_DIR;
  std::string tests;
  for (const auto& entry : fs::recursive_directory_iterator(root / "tests")) {
    if (!entry.path().string().ends_with("_test.cpp")) continue;
    std::ifstream file(entry.path());
    tests.append(std::istreambuf_iterator<char>(file), {});
  }
  std::ifstream readme(root / "README.md");
  static const std::regex name(R"(`(?:(\w+)\.)?(\w+)`)");
  int rows = 0;
  bool inside = false;
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("## ")) inside = line == "## Differences from transformers";
    if (!inside || !line.starts_with("| ")) continue;
    const std::string column = line.substr(line.rfind('|', line.size() - 2));
    if (column == "| test |" || column == "| --- |") continue;
    ++rows;
    std::sregex_iterator named(column.begin(), column.end(), name);
    EXPECT_TRUE(named != std::sregex_iterator() || column == "| - |") << line;
    for (; named != std::sregex_iterator(); ++named) {
      const std::string suite = (*named)[1].matched ? "(" + (*named)[1].str() : "";
      EXPECT_NE(tests.find(suite + ", " + (*named)[2].str() + ")"), std::string::npos)
          << named->str();
    }
  }
  EXPECT_GT(rows, 25);
}

}  // namespace
}  // namespace instructblip
