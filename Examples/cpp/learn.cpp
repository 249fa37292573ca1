// Learns from a corrected segmentation: goes on training a model with one image and its labels, and says what it gained.
//
//   g++ -std=c++11 learn.cpp -o learn $(pkg-config --cflags --libs meddino)
//   ./learn organs.safetensors ct.nii.gz corrected.nii.gz 20 better.safetensors
#include <cstdio>
#include <cstdlib>
#include <meddino.hpp>

/// Mean Dice of the structures that are there.
static double agreement(const meddino::Context &context, const meddino::Model &model, const meddino::Image &image, const meddino_volume &corrected) {
  const meddino::Image labels = model.segment(image).labels;
  meddino::EvaluationOptions options;
  options.distances = false;
  double sum = 0;
  int count = 0;
  for (const meddino_structure_scores &scores : meddino::evaluate(context, corrected, labels.view(), options))
    if (scores.dice == scores.dice) sum += scores.dice, count++;  // NaN: in neither
  return count > 0 ? sum / count : 0;
}

int main(int argc, char **argv) {
  const int steps = argc == 6 ? std::atoi(argv[4]) : 0;
  if (steps < 1) {
    std::fprintf(stderr, "usage: %s MODEL IMAGE.nii.gz CORRECTED_LABELS.nii.gz STEPS BETTER.safetensors\n", argv[0]);
    return 2;
  }
  try {
    meddino::Context context;
    const meddino::Model model = meddino::Model::open(context, argv[1]);
    const meddino::Image image = model.read_image(argv[2]), labels = model.read_image(argv[3]);
    meddino::Dataset cases = meddino::Dataset::create(model);
    cases.add("corrected", image.view(), labels.view());
    meddino::TrainOptions options;
    options.settings = "{\"recipe\": \"few-shot\", \"epochs\": 1, \"drop_path\": 0}";
    meddino::Trainer trainer = meddino::Trainer::create(context, &model, &cases, options);
    for (int step = 0; step < steps; step++) {
      const meddino_metrics metrics = trainer.step();
      std::printf("step %d: loss %.4f\n", static_cast<int>(metrics.step), metrics.loss);
    }
    const meddino::Model better = trainer.export_model();
    better.save(argv[5]);
    std::printf("mean Dice with the correction: %.4f before, %.4f after\n", agreement(context, model, image, labels.view()),
                agreement(context, better, image, labels.view()));
  } catch (const meddino::Error &error) {
    std::fprintf(stderr, "%s: %s\n", error.name(), error.what());
    return 1;
  }
  return 0;
}
