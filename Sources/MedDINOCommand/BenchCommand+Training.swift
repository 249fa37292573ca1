import FineTuning
import MedDINO
import Networks
import Platform
import Segmentation
import Tensors
import WeightFiles

/// Times whole training steps: forward, loss, backward, clipping and AdamW on one image.
struct TrainingBench {
  let configuration: Primus.Configuration
  let size: Int
  let precision: Precision
  let recompute: Bool
  let context: Context

  /// Seconds of `runs` steps after one that is not counted. Throws: `.invalid` for a size that is no multiple of the patch, `.outOfMemory`.
  func run(_ runs: Int) throws -> [Double] {
    guard size % configuration.encoder.patchSize == 0 else {
      throw MedDINOError.invalid("--size is \(size), expected a multiple of the patch size \(configuration.encoder.patchSize)")
    }
    let network = try TrainablePrimus(
      configuration, parameters: InitialParameters(seed: 0, configuration: configuration.encoder), device: context.device)
    var settings = FineTuningSettings(recipe: try Recipe.preset("meddinov3"))
    settings.recipe.encoder = configuration.encoder
    settings.recipe.taps = configuration.taps
    settings.precision = precision
    settings.recompute = recompute
    let tuner = try FineTuner(
      network, settings: settings, scheme: try scheme(), batchDice: true, training: nil, validation: nil, device: context.device)
    let images = try Tensor([1, 1, size, size], in: context.budget)
    let targets = try Tensor([1, 1, size, size], .int16, in: context.budget)
    var random = CounterRandom(seed: 1, purpose: "bench")
    for index in 0..<images.count { images.floats[index] = Float(random.normal()) }
    let labels = targets.elements(Int16.self)
    for index in 0..<labels.count { labels[index] = Int16(random.below(configuration.classes)) }
    var times: [Double] = []
    for run in 0...runs {
      let start = monotonicSeconds()
      _ = try tuner.step(images: images, targets: targets)
      if run > 0 { times.append(monotonicSeconds() - start) }
    }
    return times.sorted()
  }

  /// As many plain labels as the network has outputs.
  private func scheme() throws -> LabelScheme {
    let labels = (0..<configuration.classes).map { ($0 == 0 ? "background" : "label \($0)", JSON.integer($0)) }
    let text = JSON.object(
      ("channel_names", .object(("0", .string("CT")))), ("labels", .object(JSONObject(labels))), ("numTraining", .integer(1)),
      ("file_ending", .string(".nii.gz"))
    ).text()
    return try LabelScheme(DatasetDescription.parse(Array(text.utf8), source: "bench"))
  }
}
