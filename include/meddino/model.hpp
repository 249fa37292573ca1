// Part of meddino.hpp: models and dense features.
#ifndef MEDDINO_MODEL_HPP
#define MEDDINO_MODEL_HPP
#include "run.hpp"

namespace meddino {

/// What dense features are wanted; see meddino_feature_options.
struct FeatureOptions {
  /// Ascending block numbers, at most 8; empty: the last.
  std::vector<std::int32_t> blocks;
  bool apply_norm = true;
  std::int32_t input_rows = 0, input_columns = 0;
  std::int64_t slice_begin = 0, slice_end = 0;
};

/// Patch tokens of the slices of a volume.
class Features {
 public:
  /// [slices, blocks, rows, columns, channels] float32, valid while this object lives.
  meddino_tensor view() const {
    meddino_tensor t = meddino_tensor();
    t.struct_size = sizeof t;
    detail::check(meddino_features_view(handle_.get(), &t));
    return t;
  }
  /// Colours of the first three principal components into `rgb` (uint8, 3 channels, the token grid).
  void pca(const meddino_volume *mask, meddino_volume rgb) const { detail::check(meddino_features_pca(handle_.get(), mask, &rgb)); }
  /// Cosine similarity to the tokens under `points_mm` (x, y, z, x, y, z, …) into `cosine` (float32, the token grid).
  void similarity(const std::vector<double> &points_mm, meddino_volume cosine) const {
    if (points_mm.size() % 3 != 0) throw Error(MEDDINO_E_INVALID, "points_mm has " + std::to_string(points_mm.size()) + " values, expected three per point");
    static const double none[3] = {0, 0, 0};
    detail::check(meddino_features_similarity(handle_.get(), points_mm.empty() ? none : points_mm.data(), points_mm.size() / 3, &cosine));
  }
  meddino_features *get() const noexcept { return handle_.get(); }

 private:
  friend class Model;
  std::shared_ptr<Context::State> state_;
  detail::Handle<meddino_features, meddino_features_release> handle_;
};

/// Which parts of an nnU-Net result folder are opened; see meddino_model_options.
struct ModelOptions {
  std::uint64_t fold_mask = 0;
  std::string checkpoint, configuration;
  std::int32_t rope = MEDDINO_ROPE_MODEL;
};

/// How a model is saved; see meddino_save_options.
struct SaveOptions : FileOptions {
  std::int32_t precision = MEDDINO_PRECISION_MODEL;
};

/// One value of a label map.
struct Label {
  std::int32_t value;
  std::uint8_t rgba[4];
  std::string name, coding_scheme, code;
};

/// A network, or several whose outputs are averaged, with plan and labels.
class Model {
 public:
  /// Opens a model file, a checkpoint or a folder.
  static Model open(const Context &context, const std::string &path, const ModelOptions &options = ModelOptions()) {
    meddino_model_options o;
    meddino_model_options_init(&o, sizeof o);
    o.fold_mask = options.fold_mask;
    if (!options.checkpoint.empty()) o.checkpoint = options.checkpoint.c_str();
    if (!options.configuration.empty()) o.configuration = options.configuration.c_str();
    o.rope = options.rope;
    Model model(context.state());
    detail::check(meddino_model_open(context.get(), path.c_str(), &o, model.handle_.out()));
    return model;
  }
  /// Opens a model file or checkpoint in memory; the bytes are kept until they are not needed any more.
  static Model open_memory(const Context &context, std::vector<std::uint8_t> bytes) {
    std::unique_ptr<std::vector<std::uint8_t>> owned(new std::vector<std::uint8_t>(std::move(bytes)));
    static const std::uint8_t none = 0;
    const std::uint8_t *data = owned->empty() ? &none : owned->data();
    const size_t size = owned->size();
    Model model(context.state());
    detail::check(meddino_model_open_memory(context.get(), data, size, &Model::free_bytes, owned.release(), model.handle_.out()));
    return model;
  }
  /// A fresh network with random weights.
  static Model create(const Context &context, const std::string &config_json, std::uint64_t seed) {
    Model model(context.state());
    detail::check(meddino_model_create(context.get(), config_json.c_str(), seed, model.handle_.out()));
    return model;
  }
  /// One model of the members of all; every entry must be set.
  static Model combine(const std::vector<const Model *> &models) {
    std::vector<const meddino_model *> handles;
    for (const Model *model : models) handles.push_back(model != nullptr ? model->get() : nullptr);
    Model result(!models.empty() && models[0] != nullptr ? models[0]->state_ : nullptr);
    for (const Model *model : models)
      if (model != nullptr) result.parents_.push_back(model->state_);
    detail::check(meddino_model_combine(handles.data(), handles.size(), result.handle_.out()));
    return result;
  }

  /// Writes one .safetensors file, whole or not at all.
  void save(const std::string &path, const SaveOptions &options = SaveOptions()) const {
    detail::FileRun<meddino_save_options, meddino_save_options_init> run(options);
    run.c.precision = options.precision;
    run.check(meddino_model_save_with(handle_.get(), path.c_str(), &run.c));
  }
  /// Throws `Error` when the weights are not those that the file's SHA-256 was made of, or when there is none.
  void verify(const FileOptions &options = FileOptions()) const {
    detail::Watched run(options);
    run.check(meddino_model_verify(handle_.get(), &run.c));
  }
  /// Reads an image file by the rules of the reader that the model's plan names.
  Image read_image(const std::string &path, const FileOptions &options = FileOptions()) const {
    Image image(state_);
    detail::Watched run(options);
    run.check(meddino_image_read_for(handle_.get(), path.c_str(), &run.c, image.handle_.out()));
    return image;
  }
  meddino_model_info info() const {
    meddino_model_info i = meddino_model_info();
    i.struct_size = sizeof i;
    detail::check(meddino_model_get_info(handle_.get(), &i));
    return i;
  }
  /// Background first.
  std::vector<Label> labels() const {
    std::vector<Label> list;
    const std::int32_t count = info().labels;
    for (std::int32_t index = 0; index < count; index++) {
      meddino_label c = meddino_label();
      c.struct_size = sizeof c;
      detail::check(meddino_model_get_label(handle_.get(), index, &c));
      Label label = {c.value, {c.rgba[0], c.rgba[1], c.rgba[2], c.rgba[3]}, text(c.name), text(c.coding_scheme), text(c.code)};
      list.push_back(std::move(label));
    }
    return list;
  }
  /// A text that the model carries; empty if it does not.
  std::string metadata(const std::string &key) const { return text(meddino_model_metadata(handle_.get(), key.c_str())); }

  /// What a run would take; `in` needs no buffer.
  meddino_estimate estimate(const meddino_volume &in, const RunOptions &options = RunOptions()) const {
    detail::Run run(options);
    meddino_estimate e = meddino_estimate();
    e.struct_size = sizeof e;
    detail::check(meddino_estimate_run(handle_.get(), &in, run.get(), &e));
    return e;
  }

  /// Labels a volume into the buffer that `labels` views; `probabilities` may be null.
  Report segment(const std::vector<meddino_volume> &channels, meddino_volume labels, meddino_volume *probabilities = nullptr,
                 const RunOptions &options = RunOptions()) const {
    detail::Run run(options);
    Report report;
    const std::vector<const meddino_volume *> views = pointers(channels);
    run.check(meddino_segment(handle_.get(), views.data(), views.size(), run.get(), &labels, probabilities, report.handle_.out()));
    return report;
  }
  Report segment(const meddino_volume &in, meddino_volume labels, const RunOptions &options = RunOptions()) const {
    return segment(std::vector<meddino_volume>(1, in), labels, nullptr, options);
  }

  struct Segmented;
  /// From image to image.
  Segmented segment(const Image &image, const RunOptions &options = RunOptions()) const;

  /// The same on a thread of its own. The buffers behind the views must live as long as the job.
  Job segment_async(const std::vector<meddino_volume> &channels, meddino_volume labels, meddino_volume *probabilities = nullptr,
                    const RunOptions &options = RunOptions()) const {
    Job job;
    job.state_ = state_;
    const std::shared_ptr<detail::Run> run = std::make_shared<detail::Run>(options);
    job.keep(run);
    const std::vector<const meddino_volume *> views = pointers(channels);
    detail::check(
        meddino_segment_async(handle_.get(), views.data(), views.size(), run->get(), &labels, probabilities, job.handle_.out()));
    return job;
  }

  /// Dense features. Of `run`, precision, max_bytes, progress and cancel are used.
  Features features(const meddino_volume &in, const FeatureOptions &options = FeatureOptions(), const RunOptions &run_options = RunOptions()) const {
    meddino_feature_options o;
    meddino_feature_options_init(&o, sizeof o);
    if (options.blocks.size() > 8) throw Error(MEDDINO_E_INVALID, "blocks has " + std::to_string(options.blocks.size()) + " entries, expected at most 8");
    o.block_count = static_cast<std::int32_t>(options.blocks.size());
    for (size_t i = 0; i < options.blocks.size(); i++) o.blocks[i] = options.blocks[i];
    o.apply_norm = options.apply_norm ? 1 : 0;
    o.input_size[0] = options.input_rows, o.input_size[1] = options.input_columns;
    o.slice_begin = options.slice_begin, o.slice_end = options.slice_end;
    detail::Run run(run_options);
    Features features;
    features.state_ = state_;
    run.check(meddino_features_create(handle_.get(), &in, &o, run.get(), features.handle_.out()));
    return features;
  }
  meddino_model *get() const noexcept { return handle_.get(); }

 private:
  friend class Dataset;
  friend class Trainer;
  explicit Model(std::shared_ptr<Context::State> state) : state_(std::move(state)) {}
  static std::string text(const char *c) { return c != nullptr ? std::string(c) : std::string(); }
  static void free_bytes(void *user, const void *) noexcept { delete static_cast<std::vector<std::uint8_t> *>(user); }
  static std::vector<const meddino_volume *> pointers(const std::vector<meddino_volume> &channels) {
    std::vector<const meddino_volume *> list;
    for (const meddino_volume &channel : channels) list.push_back(&channel);
    return list;
  }
  std::shared_ptr<Context::State> state_;
  std::vector<std::shared_ptr<Context::State>> parents_;
  detail::Handle<meddino_model, meddino_model_release> handle_;
};

/// A label image and its report.
struct Model::Segmented {
  Image labels;
  Report report;
};

inline Model::Segmented Model::segment(const Image &image, const RunOptions &options) const {
  detail::Run run(options);
  Segmented result = {Image(image.state_), Report()};
  run.check(meddino_segment_image(handle_.get(), image.get(), run.get(), result.labels.handle_.out(), result.report.handle_.out()));
  return result;
}

}  // namespace meddino
#endif
