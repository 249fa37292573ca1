// Segments a volume in memory with the C++ API, on a thread of its own, and stops it with Ctrl-C.
//
//   g++ -std=c++11 segment.cpp -o segment $(pkg-config --cflags --libs meddino)
//   ./segment organs.safetensors [LABELS.nii.gz]
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <meddino.hpp>
#include <unistd.h>
#include <vector>

static volatile std::sig_atomic_t interrupted = 0;
static void on_interrupt(int) { interrupted = 1; }

/// A made-up scan: an ellipse of soft tissue in air. A host would hand over its own voxels here.
static std::vector<std::int16_t> phantom(int width, int height, int depth) {
  std::vector<std::int16_t> voxels;
  for (int z = 0; z < depth; z++)
    for (int y = 0; y < height; y++)
      for (int x = 0; x < width; x++) {
        const double u = (x + 0.5) / width - 0.5, v = (y + 0.5) / height - 0.5;
        const bool inside = u * u + v * v < 0.18, organ = (u - 0.1) * (u - 0.1) + v * v < 0.02;
        voxels.push_back(static_cast<std::int16_t>(organ ? 120 : inside ? 30 : -1000));
      }
  return voxels;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s MODEL [LABELS.nii.gz]\n", argv[0]);
    return 2;
  }
  try {
    std::signal(SIGINT, on_interrupt);
    meddino::Context context;
    const meddino::Model model = meddino::Model::open(context, argv[1]);

    const int width = 96, height = 80, depth = 4;
    const std::vector<std::int16_t> voxels = phantom(width, height, depth);
    std::vector<std::uint16_t> labels(voxels.size());  // wide enough for any label value
    const meddino_volume in = meddino::view(voxels.data(), width, height, depth, 0.9, 0.9, 3.0);
    const meddino_volume out = meddino::writable(labels.data(), in);

    const meddino_estimate estimate = model.estimate(in);
    std::fprintf(stderr, "%lld passes, up to %.1f MB\n", static_cast<long long>(estimate.tiles), static_cast<double>(estimate.peak_bytes) / 1e6);

    meddino::Job job = model.segment_async({in}, out);
    bool done = false;
    while (!done) {
      done = job.wait(100);
      if (isatty(2)) std::fprintf(stderr, "\r%3d %%", static_cast<int>(job.progress() * 100));
      if (interrupted) job.cancel();  // wait() then throws MEDDINO_E_CANCELLED
    }
    if (isatty(2)) std::fputc('\n', stderr);

    const std::vector<meddino::Label> names = model.labels();
    for (const meddino_label_stats &stats : job.report().labels()) {
      for (const meddino::Label &label : names)
        if (label.value == stats.value)
          std::printf("%5d  %-24s %10.2f ml%s\n", stats.value, label.name.c_str(), stats.millilitres, stats.touches_border ? "  touches the border" : "");
    }
    for (const std::string &warning : job.report().warnings()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    if (argc == 3) {
      meddino_volume result = out;  // a view to read from
      result.data = labels.data();
      meddino::Image::copy(context, result).write(argv[2]);
    }
  } catch (const meddino::Error &error) {
    std::fprintf(stderr, "%s: %s\n", error.name(), error.what());
    return 1;
  }
  return 0;
}
