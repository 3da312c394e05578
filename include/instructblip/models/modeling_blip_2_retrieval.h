// BLIP-2's first stage: a vision tower and a Q-Former that compare images and texts. "BLIP-2:
// Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language Models",
// https://arxiv.org/abs/2301.12597, section 3.1. Mirrors Blip2ForImageTextRetrieval,
// Blip2VisionModelWithProjection and Blip2TextModelWithProjection of transformers'
// models/blip_2/modeling_blip_2.py; the original code is LAVIS' blip2_image_text_matching.py.
//
// Contrast (ITC) reads image and text apart, so that the embeddings of many pictures can be kept
// and compared with a text at once. Matching (ITM) reads a text together with an image, which is
// slower and better: it orders the best of them anew.
#pragma once

#include <filesystem>
#include <memory>

#include "instructblip/configuration/configuration_blip_2.h"
#include "instructblip/core/batch_feature.h"
#include "instructblip/core/export.h"
#include "instructblip/core/tensor.h"
#include "instructblip/generation/language_model.h"
#include "instructblip/models/loading.h"
#include "instructblip/models/modeling_outputs.h"
#include "instructblip/models/vision_features.h"

namespace instructblip {

class Blip2QFormerModel;
class Linear;

/// Embeds images. Immutable; copies share the weights; safe to call from several threads.
class INSTRUCTBLIP_EXPORT Blip2VisionModelWithProjection {
 public:
  using Config = Blip2Config;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. `qformer`: that of
  /// a model around this one; default: its own. Throws ConfigError if the configuration is invalid.
  Blip2VisionModelWithProjection(const Weights& weights, const Blip2Config& config,
                                 std::shared_ptr<const Blip2QFormerModel> qformer = nullptr);
  /// Loads a checkpoint folder of this class or of Blip2ForImageTextRetrieval. Throws ConfigError
  /// or CheckpointError.
  static Blip2VisionModelWithProjection from_pretrained(const std::filesystem::path& path,
                                                        const LoadOptions& options = {});

  /// floating-point pixel_values [images, 3, height, width]. Throws InputError if the shape is
  /// wrong.
  Blip2VisionModelOutput forward(const TensorView& pixel_values, const ForwardCapture& capture = {},
                                 bool interpolate_pos_encoding = false) const;
  /// The image_embeds of images that the vision tower has read (additions of this library).
  Tensor embed(const VisionFeatures& features) const;
  VisionFeatures encode_image(const TensorView& pixel_values) const;

  const Blip2Config& config() const;

 private:
  friend class Blip2ForImageTextRetrieval;
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

/// Embeds texts. Immutable; copies share the weights; safe to call from several threads.
class INSTRUCTBLIP_EXPORT Blip2TextModelWithProjection {
 public:
  using Config = Blip2Config;

  /// Like the constructor of Blip2VisionModelWithProjection.
  Blip2TextModelWithProjection(const Weights& weights, const Blip2Config& config,
                               std::shared_ptr<const Blip2QFormerModel> qformer = nullptr);
  /// Loads a checkpoint folder of this class or of Blip2ForImageTextRetrieval. Throws ConfigError
  /// or CheckpointError.
  static Blip2TextModelWithProjection from_pretrained(const std::filesystem::path& path,
                                                      const LoadOptions& options = {});

  /// int64 input_ids [texts, t], with or without image placeholders in front, which are left out,
  /// and their mask, default: all 1. position_ids: int64 [texts, t] or [1, t], default: 0, 1, ...
  /// Throws InputError if shapes do not match, an id is outside the vocabulary, or a text is longer
  /// than the table of positions.
  Blip2TextModelOutput forward(const TensorView& input_ids, const TensorView& attention_mask = {},
                               const TensorView& position_ids = {},
                               const ForwardCapture& capture = {}) const;

  const Blip2Config& config() const;

 private:
  friend class Blip2ForImageTextRetrieval;
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

/// The arguments of Blip2ForImageTextRetrieval::forward, as views of the caller's tensors.
struct Blip2ImageTextMatchingInputs {
  TensorView pixel_values{};  // floating-point [images, 3, height, width]
  /// int64 [texts, length] of a Blip2Processor: image placeholders, which are left out, and text.
  /// Texts without placeholders are taken as they are; the reference drops their first words.
  TensorView input_ids{};
  TensorView attention_mask{};  // [texts, length]; default: all 1
  /// Matching instead of contrast. There must be as many images as texts, or one of either.
  bool use_image_text_matching_head = false;
  bool output_hidden_states = false;  // of the vision tower, as in the reference
  bool output_attentions = false;
  /// Used instead of pixel_values: the result of `encode_image`. The reference has no such
  /// argument.
  const VisionFeatures* vision_features = nullptr;
};

/// Compares images and texts. Immutable; copies share the weights; safe to call from several
/// threads.
class INSTRUCTBLIP_EXPORT Blip2ForImageTextRetrieval {
 public:
  using Config = Blip2Config;

  /// Reads the tensors below `weights`. The caller must call `weights.finish()`. Throws ConfigError
  /// if the configuration is invalid or its Q-Former reads no text.
  Blip2ForImageTextRetrieval(const Weights& weights, const Blip2Config& config);
  /// Loads a checkpoint folder. Throws ConfigError, which names the class of a folder of another
  /// one, or CheckpointError.
  static Blip2ForImageTextRetrieval from_pretrained(const std::filesystem::path& path,
                                                    const LoadOptions& options = {});

  /// A sample gives the same bits alone and in any batch. Throws InputError, naming the argument,
  /// if shapes do not match.
  Blip2ImageTextMatchingModelOutput forward(const Blip2ImageTextMatchingInputs& inputs) const;

  /// Additions of this library, for many images. The vision tower's output, for `embed` and
  /// matching:
  VisionFeatures encode_image(const TensorView& pixel_values) const {
    return vision_.encode_image(pixel_values);
  }
  /// image_embeds [images, num_query_tokens, image_text_hidden_size], for `similarity`.
  Tensor embed_image(const VisionFeatures& features) const { return vision_.embed(features); }
  /// The texts' [texts, image_text_hidden_size], for `similarity`.
  Tensor embed_text(const TensorView& input_ids, const TensorView& attention_mask = {}) const;
  /// [images, texts]: the cosine of each text and the query of the image that is nearest to it.
  static Tensor similarity(const TensorView& image_embeds, const TensorView& text_embeds);

  const Blip2VisionModelWithProjection& vision_model() const { return vision_; }
  const Blip2TextModelWithProjection& text_model() const { return text_; }
  const Blip2Config& config() const { return vision_.config(); }

 private:
  Blip2ForImageTextRetrieval(const Weights& weights, const Blip2Config& config,
                             const std::shared_ptr<const Blip2QFormerModel>& qformer);

  Blip2VisionModelWithProjection vision_;
  Blip2TextModelWithProjection text_;
  std::shared_ptr<const Linear> itm_head_;
};

}  // namespace instructblip
