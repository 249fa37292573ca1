// The C++ header: ownership, exceptions, callbacks.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <meddino.hpp>
extern "C" {
#include "check.h"
}

static const char config[] = R"({"encoder": {"embed_dim": 64, "depth": 2, "num_heads": 2, "n_storage_tokens": 2, "layerscale_init": 1.0}, "taps": [0, 1],
 "plans": {"transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "configurations": {"2d": {"patch_size": [32, 32], "spacing": [1.0, 1.0],
 "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [false]}}},
 "dataset": {"channel_names": {"0": "MR"}, "labels": {"background": 0, "liver": 1, "spleen": 2}, "numTraining": 4, "file_ending": ".nii.gz"}})";

template <class F>
static meddino_status code_of(F function) {
  try {
    function();
  } catch (const meddino::Error &error) {
    return error.what()[0] != 0 ? error.code() : MEDDINO_E_INTERNAL;
  }
  return MEDDINO_OK;
}
struct Stop {
  int value;
};

template <class T>
static void move_only() {
  CHECK(!std::is_copy_constructible<T>::value && !std::is_copy_assignable<T>::value);
  CHECK(std::is_nothrow_move_constructible<T>::value && std::is_move_assignable<T>::value);
}

// Datasets and trainers: the same calls, exceptions out of every callback, jobs that outlive their trainer.
static void training(const meddino::Context &context, const meddino::Model &model, const meddino_volume &in, const std::string &folder) {
  std::vector<std::uint8_t> values(static_cast<size_t>(in.dims[0] * in.dims[1] * in.dims[2]), 0);
  for (size_t i = 0; i < values.size() / 2; i++) values[i] = static_cast<std::uint8_t>(1 + i % 2);
  meddino_volume labels = meddino::view(values.data(), in.dims[0], in.dims[1], in.dims[2], 0.9, 0.9, 3);
  meddino::Dataset cases = meddino::Dataset::create(model);
  cases.add("first", in, labels);
  cases.add_cases(2, [&](std::int64_t index, std::vector<meddino_volume> &channels, meddino_volume &target, std::string &name) {
    channels[0] = in;
    target = labels;
    if (index == 1) name = "last";
    return true;
  });
  CHECK((cases.identifiers() == std::vector<std::string>{"first", "case_0", "last"}));
  int caught = 0;
  try {
    cases.add_cases(1, [](std::int64_t, std::vector<meddino_volume> &, meddino_volume &, std::string &) -> bool { throw Stop{4}; });
  } catch (const Stop &stop) {
    caught += stop.value == 4;
  }
  CHECK(code_of([&] { cases.add_cases(1, [](std::int64_t, std::vector<meddino_volume> &c, meddino_volume &, std::string &) { return c.clear(), true; }); }) ==
        MEDDINO_E_SHAPE);
  CHECK(code_of([&] { cases.add_cases(1, [](std::int64_t, std::vector<meddino_volume> &, meddino_volume &, std::string &) { return false; }); }) ==
        MEDDINO_E_CANCELLED);
  CHECK(code_of([&] { cases.add("more", std::vector<meddino_volume>(2, in), labels); }) == MEDDINO_E_SHAPE);
  CHECK(code_of([&] { meddino::Dataset::open(context, "/no/such/folder"); }) == MEDDINO_E_IO && cases.count() == 3);

  meddino::TrainOptions options;
  options.settings = "{\"recipe\": \"few-shot\", \"epochs\": 2, \"iterations\": 2, \"validation_iterations\": 1, \"batch_size\": 2}";
  CHECK(meddino::Trainer::estimate(context, &model, &cases, options).peak_bytes > 100000);
  long stop_at = -1, calls = 0, pause = 0;
  options.progress = [&](double, const char *) {
    if (pause > 0) std::this_thread::sleep_for(std::chrono::milliseconds(pause));
    if (calls++ == stop_at) throw Stop{5};
    return true;
  };
  meddino::Trainer trainer = meddino::Trainer::create(context, &model, &cases, options);
  stop_at = 7, calls = 0;
  try {
    trainer.epoch();
  } catch (const Stop &stop) {
    caught += stop.value == 5;
  }
  stop_at = -1;
  CHECK(trainer.epoch().step == 2);
  trainer.save(folder + "/hpp_run.safetensors");
  const meddino_metrics second = trainer.epoch();
  CHECK(second.finished == 1 && second.epoch == 1 && trainer.finished());
  CHECK(code_of([&] { trainer.step(); }) == MEDDINO_E_STATE);  // and not the old exception
  CHECK(trainer.validate().validation_loss > 0 && trainer.validate().finished == 1);
  options.settings.clear();
  meddino::Trainer resumed = meddino::Trainer::resume(context, folder + "/hpp_run.safetensors", &cases, options);
  CHECK(!resumed.finished());
  CHECK(resumed.epoch().loss == second.loss);
  CHECK(resumed.finished());
  const std::vector<float> pixels(2 * 32 * 32, 0.5f);
  const std::vector<std::int64_t> targets(2 * 32 * 32, 1);
  options.settings = "{\"epochs\": 1}";
  {
    meddino::Trainer pushed = meddino::Trainer::create(context, &model, nullptr, options);
    CHECK(pushed.step(meddino::tensor(pixels.data(), {2, 1, 32, 32}), meddino::tensor(targets.data(), {2, 32, 32})).step == 1);
    CHECK(code_of([&] { pushed.step(meddino::tensor(pixels.data(), {2, 1, 32, 32}), meddino::tensor(targets.data(), {2, 32})); }) == MEDDINO_E_SHAPE);
    pushed.export_model().save(folder + "/hpp_pushed.safetensors");
  }
  {
    std::vector<std::int16_t> plane(40 * 44);
    for (size_t i = 0; i < plane.size(); i++) plane[i] = static_cast<std::int16_t>(i * 37 % 400);
    long asked = 0;
    meddino::TrainOptions first;
    first.objective = MEDDINO_PRETRAIN_1;
    first.settings =
        "{\"preset\": \"tiny\", \"student\": {\"embed_dim\": 16, \"depth\": 1, \"num_heads\": 2}, \"train\": {\"batch_size_per_gpu\": 2},"
        " \"crops\": {\"global_crops_size\": 32, \"local_crops_size\": 16, \"local_crops_number\": 2}}";
    const auto next = [&](std::int64_t, meddino_volume &slice) {
      slice.dtype = MEDDINO_I16;
      slice.dims[0] = 44, slice.dims[1] = 40;
      slice.data = plane.data();
      slice.data_bytes = plane.size() * sizeof plane[0];
      return asked++ < 4;
    };
    const auto make = [&]() {
      meddino::Dataset slices = meddino::Dataset::from_slices(context, 3, next);
      CHECK(slices.count() == 3 && slices.identifiers().empty());
      return meddino::Trainer::create(context, nullptr, &slices, first);
    };
    meddino::Trainer pretraining = make();  // it keeps the function
    CHECK(pretraining.step().ibot_loss > 0 && pretraining.step().step == 2 && asked == 4);
    CHECK(code_of([&] { pretraining.step(); }) == MEDDINO_E_CANCELLED);
    CHECK(pretraining.export_model().info().embed_dim == 16);
    CHECK(code_of([&] { meddino::Dataset::open_slices(context, folder + "/no_slices"); }) == MEDDINO_E_IO);
  }
  options.settings = "{\"epochs\": 200, \"batch_size\": 2}";
  stop_at = 40, calls = 0, pause = 2;
  std::unique_ptr<meddino::Trainer> early(new meddino::Trainer(meddino::Trainer::create(context, &model, &cases, options)));
  meddino::Job job = early->run_async();
  CHECK(code_of([&] { early->step(); }) == MEDDINO_E_STATE);
  early.reset();
  try {
    job.wait();
  } catch (const Stop &stop) {
    caught += stop.value == 5;
  }
  CHECK(code_of([&] { job.report(); }) == MEDDINO_E_STATE);
  CHECK(caught == 3);
}

static void evaluation(const meddino::Context &context) {
  const std::uint8_t reference[8] = {0, 1, 1, 2, 0, 1, 3, 3}, prediction[8] = {0, 1, 2, 2, 0, 1, 3, 0};
  const meddino_volume a = meddino::view(reference, 2, 2, 2, 1.0, 1.0, 1.0), b = meddino::view(prediction, 2, 2, 2, 1.0, 1.0, 1.0);
  const std::vector<meddino_structure_scores> all = meddino::evaluate(context, a, b);
  CHECK(all.size() == 3 && all[0].value == 1 && all[0].dice > 0.799 && all[0].dice < 0.801 && all[0].nsd > 0);
  meddino::EvaluationOptions options;
  options.structures = {{1, 2}, {3}};
  options.distances = false;
  const std::vector<meddino_structure_scores> regions = meddino::evaluate(context, a, b, options);
  CHECK(regions.size() == 2 && regions[0].values == 2 && regions[0].dice == 1 && regions[0].nsd != regions[0].nsd);
  CHECK(regions[1].true_positives == 1 && regions[1].false_negatives == 1);
  options.tolerance_mm = -1;
  CHECK(code_of([&] { meddino::evaluate(context, a, b, options); }) == MEDDINO_E_INVALID);
  options = meddino::EvaluationOptions();
  options.progress = [](double, const char *) -> bool { throw Stop{7}; };
  bool stopped = false;
  try {
    meddino::evaluate(context, a, b, options);
  } catch (const Stop &stop) {
    stopped = stop.value == 7;
  }
  CHECK(stopped);
}

int main(int count, char **arguments) {
  const std::string folder = count > 1 ? arguments[1] : ".";
  move_only<meddino::Context>();
  move_only<meddino::Image>();
  move_only<meddino::Model>();
  move_only<meddino::Report>();
  move_only<meddino::Features>();
  move_only<meddino::Cancel>();
  move_only<meddino::Job>();
  move_only<meddino::Dataset>();
  move_only<meddino::Trainer>();
  CHECK(meddino::version() == meddino_version() && !meddino::build_info().empty());

  std::vector<float> voxels(40 * 36 * 3);
  for (size_t i = 0; i < voxels.size(); i++) voxels[i] = static_cast<float>((i * 37 + i / 40 * 11) % 200);
  std::vector<std::uint8_t> labels(voxels.size(), 99), again(voxels.size(), 98);
  const meddino_volume in = meddino::view(voxels.data(), 40, 36, 3, 0.9, 0.9, 3);
  const meddino_volume out = meddino::writable(labels.data(), in), out_again = meddino::writable(again.data(), in);
  meddino::check(in);

  std::atomic<int> lines(0);
  meddino::ContextOptions options;
  options.threads = 2;
  options.log_level = MEDDINO_LOG_DEBUG;
  options.log = [&](int, const char *) {
    lines++;
    throw Stop{1};  // dropped
  };
  std::unique_ptr<meddino::Context> context(new meddino::Context(options));
  meddino::Model model = meddino::Model::create(*context, config, 5);
  const meddino::Report report = model.segment(in, out);
  CHECK(lines > 0);
  CHECK(report.labels().size() == 2 && model.labels().size() == 3 && model.labels()[1].name == "liver");
  CHECK(model.info().depth == 2 && model.metadata("configuration") == "2d" && model.metadata("nothing").empty());

  // Saved, opened by path and from memory, combined with itself.
  model.save(folder + "/hpp.safetensors");
  std::vector<std::uint8_t> bytes;
  FILE *file = fopen((folder + "/hpp.safetensors").c_str(), "rb");
  for (int c = fgetc(file); c != EOF; c = fgetc(file)) bytes.push_back(static_cast<std::uint8_t>(c));
  fclose(file);
  {
    meddino::Model opened = meddino::Model::open(*context, folder + "/hpp.safetensors"), read = meddino::Model::open_memory(*context, std::move(bytes));
    opened.segment(in, out_again);
    CHECK(labels == again);
    meddino::Model both = meddino::Model::combine({&read, &model});
    CHECK(both.info().members == 2);
    both.segment(in, out_again);
    CHECK(labels == again);
    read = std::move(opened);
    read.segment(in, out_again);
  }
  CHECK(code_of([&] { meddino::Model::open(*context, "/no/such/file"); }) == MEDDINO_E_IO);
  CHECK(code_of([&] { meddino::Model::open_memory(*context, std::vector<std::uint8_t>()); }) != MEDDINO_OK);
  CHECK(code_of([&] { meddino::Model::create(*context, "{\"x\": 1}", 1); }) == MEDDINO_E_INVALID);
  CHECK(code_of([&] { meddino::Model::combine({}); }) == MEDDINO_E_INVALID);
  CHECK(code_of([&] { meddino::Model::combine({&model, nullptr}); }) == MEDDINO_E_INVALID);

  // Images.
  const meddino::Image image = meddino::Image::copy(*context, in);
  image.write(folder + "/hpp.nii.gz");
  meddino::Image back = meddino::Image::read(*context, folder + "/hpp.nii.gz");
  CHECK(memcmp(back.view().data, voxels.data(), voxels.size() * sizeof(float)) == 0);
  const meddino::Model::Segmented segmented = model.segment(back);
  CHECK(memcmp(segmented.labels.view().data, labels.data(), labels.size()) == 0 && segmented.report.labels().size() == 2);

  // Work on files, watched and stopped.
  CHECK(memcmp(model.read_image(folder + "/hpp.nii.gz").view().data, voxels.data(), voxels.size() * sizeof(float)) == 0);
  meddino::SaveOptions half;
  half.precision = MEDDINO_PRECISION_BF16;
  double reached = 0;
  half.progress = [&](double fraction, const char *) { return (reached = fraction) >= 0; };
  model.save(folder + "/hpp_half.safetensors", half);
  CHECK(reached == 1);
  const meddino::Model stored = meddino::Model::open(*context, folder + "/hpp_half.safetensors");
  stored.verify();
  CHECK(code_of([&] { model.verify(); }) == MEDDINO_E_STATE);
  meddino::Cancel never_mind;
  never_mind.request();
  meddino::FileOptions watched;
  watched.cancel = &never_mind;
  CHECK(code_of([&] { stored.verify(watched); }) == MEDDINO_E_CANCELLED);
  CHECK(code_of([&] { image.write(folder + "/hpp_not.nii.gz", watched); }) == MEDDINO_E_CANCELLED);
  CHECK(code_of([&] { meddino::Image::read(*context, folder + "/hpp.nii.gz", watched); }) == MEDDINO_E_CANCELLED);
  watched.cancel = nullptr;
  watched.progress = [](double, const char *) -> bool { throw Stop{9}; };
  bool thrown = false;
  try {
    model.read_image(folder + "/hpp.nii.gz", watched);
  } catch (const Stop &stop) {
    thrown = stop.value == 9;
  }
  CHECK(thrown);
  meddino::ModelOptions opening;
  opening.rope = 7;
  CHECK(code_of([&] { meddino::Model::open(*context, folder + "/hpp.safetensors", opening); }) == MEDDINO_E_INVALID);

  // Progress: values, stopping, and exceptions of any type.
  meddino::RunOptions run;
  double last = 0;
  long calls = 0;
  run.progress = [&](double fraction, const char *) {
    last = fraction;
    calls++;
    return true;
  };
  model.segment(in, out_again, run);
  CHECK(last == 1 && calls > 10);
  run.progress = [](double, const char *) { return false; };
  CHECK(code_of([&] { model.segment(in, out_again, run); }) == MEDDINO_E_CANCELLED);
  int caught = 0;
  for (long k = 0; k < calls; k += 5) {
    long at = 0;
    run.progress = [&](double, const char *) {
      if (at++ == k) throw Stop{static_cast<int>(k)};
      return true;
    };
    try {
      model.segment(in, out_again, run);
    } catch (const Stop &stop) {
      caught += stop.value == k;
    }
    try {
      at = 0;
      meddino::Job job = model.segment_async({in}, out_again, nullptr, run);
      job.wait();
    } catch (const Stop &stop) {
      caught += stop.value == k;
    }
  }
  CHECK(caught == 2 * ((calls + 4) / 5));

  // Jobs and cancelling.
  {
    meddino::Job job = model.segment_async({in}, out_again);
    CHECK(job.wait());
    CHECK(job.wait(0) && job.progress() == 1 && job.report().labels().size() == 2);
    CHECK(labels == again);
    meddino::Cancel cancel;
    meddino::RunOptions stopped;
    stopped.cancel = &cancel;
    stopped.progress = [](double, const char *) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return true;
    };
    job = model.segment_async({in}, out_again, nullptr, stopped);
    CHECK(!job.wait(1));
    CHECK(code_of([&] { job.report(); }) == MEDDINO_E_STATE);
    cancel.request();
    CHECK(code_of([&] { job.wait(); }) == MEDDINO_E_CANCELLED);
    meddino::Job moved = std::move(job);
    CHECK(code_of([&] { moved.wait(); }) == MEDDINO_E_CANCELLED);
    stopped.cancel = nullptr;
    moved = model.segment_async({in}, out_again, nullptr, stopped);  // the old one goes, then this one, while it runs
  }
  meddino::RunOptions bad;
  bad.roi = {1, 2, 3};
  CHECK(code_of([&] { model.segment(in, out_again, bad); }) == MEDDINO_E_INVALID);
  bad.roi = {0, 10, 0, 10, 0, 1};
  bad.label_subset = {1};
  model.segment(in, out_again, bad);
  CHECK(again[36 * 40 + 5] == 0 && again[0] <= 1);
  CHECK(model.estimate(in).tiles > 0);
  training(*context, model, in, folder);
  evaluation(*context);

  // Features.
  meddino::FeatureOptions wanted;
  wanted.blocks = {0, 1};
  meddino::Features features = model.features(in, wanted);
  context.reset();  // parents first
  model = meddino::Model(std::move(model));
  CHECK(features.view().shape[1] == 2 && features.view().shape[4] == 64);
  std::vector<std::uint8_t> rgb(3 * 3 * 3 * 3);
  std::vector<float> cosine(3 * 3 * 3);
  meddino_volume grid = meddino::volume();
  grid.dims[0] = grid.dims[1] = grid.dims[2] = 3;
  features.pca(nullptr, meddino::writable(rgb.data(), grid, 3));
  features.similarity({5, 5, 3}, meddino::writable(cosine.data(), grid));
  CHECK(cosine[9] > 0.9999f);
  CHECK(code_of([&] { features.similarity({}, meddino::writable(cosine.data(), grid)); }) == MEDDINO_E_INVALID);
  CHECK(code_of([&] { features.similarity({1, 2}, meddino::writable(cosine.data(), grid)); }) == MEDDINO_E_INVALID);
  CHECK(code_of([&] { features.similarity({1e9, 0, 0}, meddino::writable(cosine.data(), grid)); }) == MEDDINO_E_INVALID);
  wanted.blocks.assign(9, 0);
  CHECK(code_of([&] { model.features(in, wanted); }) == MEDDINO_E_INVALID);
  run.progress = [](double, const char *) -> bool { throw Stop{7}; };
  bool stopped = false;
  try {
    model.features(in, meddino::FeatureOptions(), run);
  } catch (const Stop &stop) {
    stopped = stop.value == 7;
  }
  CHECK(stopped);
  return check_end("test_hpp");
}
