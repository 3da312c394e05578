// Describes pictures:
//   caption --model FOLDER a.jpg b.png folder "more/*.jpg"
#include <fstream>
#include <iostream>
#include <optional>

#include "answers.h"
#include "pictures.h"
#include "program.h"
#include "report.h"

namespace {

using namespace instructblip;
using Paths = std::vector<std::filesystem::path>;

struct Flags {
  examples::ModelFlags model;
  std::vector<std::string> names;
  std::optional<std::string> prompt;
  std::size_t batch_size = 4;
  std::filesystem::path output;
  bool recursive = false, json = false, resume = false;
};

// One of the paper's templates, instruction_templates("caption"), which the demo model understands
// as well. BLIP-2 describes pictures without an instruction.
std::string default_prompt(const InstructBlip& loaded) {
  return loaded.model.config().qformer_reads_text() ? "A short image description:" : "";
}

// The pictures that can be read, with their names.
struct Batch {
  Paths paths;
  std::vector<Image> images;
};

class Captioner {
 public:
  Captioner(const Flags& flags, const GenerationConfig& config)
      : flags_(flags), config_(config), status_(!flags.model.quiet) {
    // For the probability; beams have a score.
    config_.output_logits = flags.json && config.num_beams.value_or(1) == 1;
    paths_ = examples::find_pictures(flags.names, flags.recursive);
    if (flags.resume) skip_described();
    if (!flags.output.empty()) examples::require_writable(flags.output);
  }

  bool has_work() const { return !paths_.empty(); }

  void describe(const InstructBlip& loaded) {
    if (!flags_.output.empty()) {
      file_.open(flags_.output, flags_.resume ? std::ios::app : std::ios::trunc);
    }
    const examples::Stopwatch watch;
    for (std::size_t begin = 0; begin < paths_.size(); begin += flags_.batch_size) {
      const Batch batch = read(begin, std::min(begin + flags_.batch_size, paths_.size()));
      if (!batch.images.empty()) describe(loaded, batch);
      const std::size_t done = std::min(begin + flags_.batch_size, paths_.size());
      status_.show(examples::progress_text(done, paths_.size(), "picture", watch.seconds()));
    }
    status_.clear();
    if (unreadable_ > 0) {
      throw InputError(std::to_string(unreadable_) + " of " +
                       examples::counted(paths_.size(), "picture") + " could not be read");
    }
  }

 private:
  void skip_described() {
    const auto described = examples::described_files(flags_.output);
    std::erase_if(paths_, [&](const auto& path) { return described.contains(path.string()); });
  }

  Batch read(std::size_t begin, std::size_t end) {
    Batch batch;
    for (std::size_t i = begin; i < end; ++i) {
      try {
        batch.images.push_back(examples::open_picture(paths_[i]));
        batch.paths.push_back(paths_[i]);
      } catch (const ImageError& error) {  // continue with the other pictures
        ++unreadable_;
        status_.clear();
        std::cerr << "error: " << error.what() << '\n';
        if (flags_.json) print(examples::json_line(paths_[i], error.what()));
      }
    }
    return batch;
  }

  void describe(const InstructBlip& loaded, const Batch& batch) {
    status_.clear();
    const bool timings = flags_.model.timings;
    const VisionFeatures features = examples::encode(loaded, batch.images, timings);
    const std::string prompt = flags_.prompt.value_or(default_prompt(loaded));
    const examples::Answers answers = examples::ask(loaded, features, 1, prompt, config_);
    const std::size_t each = answers.texts.size() / batch.paths.size();
    for (std::size_t i = 0; i < answers.texts.size(); ++i) {
      const auto& path = batch.paths[i / each];
      print(flags_.json ? examples::json_line({path}, prompt, answers, i, timings)
                        : path.string() + ": " + answers.texts[i]);
    }
    if (timings) examples::print_timings(answers);
  }

  void print(const std::string& line) {
    std::ostream& stream = file_.is_open() ? file_ : std::cout;
    if (!(stream << line << std::endl) && file_.is_open()) {
      throw InputError(flags_.output.string() + ": cannot be written");
    }
  }

  const Flags& flags_;
  GenerationConfig config_;
  examples::StatusLine status_;
  Paths paths_;
  std::ofstream file_;
  std::size_t unreadable_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Describes each picture in one line. (For all frames of a video in one, see vqa.)"};
  Flags flags;
  // Beam search as in LAVIS' captioning, but without its minimum length of 10, which makes the
  // model invent details.
  GenerationConfig config{.max_new_tokens = 80, .num_beams = 5, .length_penalty = 1.0};
  examples::add_model_flags(app, flags.model);
  app.add_option("-i,--image,images", flags.names,
                 "pictures, folders of pictures, or patterns in quotes (\"*.jpg\"): " +
                     std::string(examples::kPictureHelp))
      ->required()
      ->type_name("FILE");
  app.add_option("-p,--prompt", flags.prompt,
                 "instruction; default: \"A short image description:\", for BLIP-2 none. The model "
                 "is sensitive to its wording: Salesforce's checkpoints were "
                 "evaluated with \"A short image caption.\", the demo model was trained with "
                 "\"describe the image\"")
      ->check(examples::check_text);
  examples::add_generation_flags(app, config);
  app.add_flag("-r,--recursive", flags.recursive, "also look into the folders of a folder");
  app.add_option("-b,--batch-size", flags.batch_size,
                 "pictures described at a time. More is faster and takes more memory; the "
                 "descriptions are the same")
      ->check(examples::check_whole_number<std::size_t>)
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--json", flags.json, "print one JSON object per description");
  app.add_option("-o,--output", flags.output,
                 "write the descriptions to this file, which is replaced");
  app.add_flag("--resume", flags.resume,
               "continue --output, which must be JSON: skip the pictures that it describes");

  return examples::run_program(app, argc, argv, flags.model, [&] {
    if (flags.resume && (!flags.json || flags.output.empty())) {
      throw CLI::ValidationError("--resume", "needs --output and --json");
    }
    Captioner captioner(flags, config);
    if (captioner.has_work()) captioner.describe(examples::load_model(flags.model, config));
  });
}
