import FineTuning
import Imaging
import Glibc
import Platform
import Tensors
import TestSupport
import Testing

/// Milliseconds of processor time of each transform for one 896² sample of one channel. Only when MEDDINO_TIMINGS is set:
/// `MEDDINO_TIMINGS=1 swift test -c release -Xswiftc -enable-testing --filter augmentationTimings`.
@Test(.enabled(if: environment("MEDDINO_TIMINGS") != nil)) func augmentationTimings() throws {
  let budget = MemoryBudget()
  let workspace = Workspace(budget)
  var random = SeededGenerator(1)
  let (size, wide) = (896, 1054)
  let image = try Tensor(random.floats(size * size), [1, size, size], in: budget)
  let labels = try labelTensor(size, size) { ($0 / 90 + $1 / 70) % 14 }
  let source = try Tensor(random.floats(wide * wide), [1, wide, wide], in: budget)
  let sourceLabels = try labelTensor(wide, wide) { ($0 / 90 + $1 / 70) % 14 - 1 }
  // Processor time of this thread: other work on the machine does not count.
  func seconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
  }
  func time(_ name: String, _ body: () throws -> Void) rethrows {
    var best = Double.infinity
    for _ in 0..<7 {
      let start = seconds()
      try body()
      best = min(best, seconds() - start)
    }
    print(name, "ms:", DecimalText.fixed(best * 1000, digits: 2))
  }
  for (name, angle, scale) in [("rotation", 0.5, 1.0), ("zoom out", 0.0, 1.4), ("rotation and zoom", -2.0, 0.8)] {
    try time("spatial, \(name)") {
      try SpatialTransform.apply(
        .init(angle: angle, scale: scale), image: source, labels: sourceLabels, newImage: image, newLabels: labels, workspace: workspace)
    }
  }
  let field = CounterRandom(seed: 1, purpose: "timing")
  try time("noise") { try GaussianNoise.apply(.init(deviation: 0.05, field: field), to: image, workspace: workspace) }
  try time("blur 7x7") { try GaussianBlur.apply([.init(rows: 1, columns: 1)], to: image, workspace: workspace) }
  try time("brightness") { try Brightness.apply([1.0001], to: image) }
  try time("contrast") { try Contrast.apply([1.01], to: image) }
  try time("low resolution") { try LowResolution.apply([0.7], to: image, workspace: workspace) }
  try time("gamma") { try Gamma.apply(.init(exponents: [1.1], inverts: false), to: image) }
  try time("inverted gamma") { try Gamma.apply(.init(exponents: [0.9], inverts: true), to: image) }
  try time("mirror both") { try Mirror.apply(.init(rows: true, columns: true), image: image, labels: labels) }
  try time("mask and -1") {
    try TargetEncoding.maskImage(image, labels: labels, channels: [true])
    try TargetEncoding.removeOutside(labels)
  }
  let regions = try Tensor([4, size, size], .int16, in: budget)
  try time("regions") { try TargetEncoding(try regionScheme()).encode(labels, into: regions) }
}
