import MedDINO
import Networks
import Platform
import Pretraining
import Tensors
import WeightFiles

/// Times whole iterations of pretraining's first stage on synthetic slices: teacher and student forward, DINO, iBOT and KoLeo, backward,
/// clipping, AdamW and the moving average. Heads and losses are those of the preset `ct-base`, without stochastic depth; crops are made
/// before the clock starts.
struct PretrainingBench {
  /// An encoder preset.
  let encoder: String
  /// Pixels of the sides of global and local crops.
  let size: (global: Int, local: Int)
  let images: Int
  let precision: Precision
  let recompute: Bool
  let context: Context
  private static let sliceSize = 256

  /// Seconds of `runs` iterations after one that is not counted, ascending, and the last one's total loss.
  /// Throws: `.invalid` for sizes that are no multiples of the patch, `.outOfMemory`.
  func run(_ runs: Int) throws -> (times: [Double], loss: Double) {
    let settings = try settings()
    let (networks, device) = (settings.networks, context.device)
    let maker = try CropMaker(
      try slices(), crops: settings.crops, pixels: settings.pixels, masks: settings.masks, batchSize: images,
      channels: networks.encoder.inputChannels, patchSize: networks.encoder.patchSize, seed: settings.run.seed)
    let model = try SelfDistillation(
      networks, options: settings.losses, student: InitialParameters(seed: settings.run.seed, configuration: networks.encoder),
      device: device)
    let trainer = try DistillationTrainer(model, schedules: settings.schedules, options: settings.optimizer)
    let tape = Tape(device, precision: precision)
    var times: [Double] = []
    var loss = 0.0
    for run in 0...runs {
      let batch = try maker.batch(at: run, in: context.budget)
      let start = monotonicSeconds()
      loss = try trainer.step(batch, seed: settings.run.seed, recompute: recompute, on: tape).losses.total
      if run > 0 { times.append(monotonicSeconds() - start) }
    }
    return (times.sorted(), loss)
  }

  /// Rates from the first iteration on: no warm-up, nothing frozen.
  private func settings() throws -> PretrainingSettings {
    let rates = JSON.object(("warmup_epochs", .integer(0)), ("freeze_last_layer_epochs", .integer(0)))
    let changes = JSON.object(
      ("student", .object(("arch", .string(encoder)), ("drop_path_rate", .integer(0)))),
      ("crops", .object(("global_crops_size", .integer(size.global)), ("local_crops_size", .integer(size.local)))),
      ("train", .object(("batch_size_per_gpu", .integer(images)))),
      ("schedules", .object(("lr", rates))))
    return try PretrainingSettings(preset: "ct-base", changes)
  }

  /// Noise in Hounsfield units, another one for every image.
  private func slices() throws -> CallbackSource {
    let side = Self.sliceSize
    return try CallbackSource(count: max(images, 1) * 16) { (index, budget) throws(MedDINOError) in
      let pixels = try Tensor([1, side, side], in: budget, "slice")
      var random = CounterRandom(seed: 1, purpose: "bench", item: UInt64(index))
      for place in 0..<pixels.count { pixels.floats[place] = Float(200 * random.normal()) }
      return PretrainingSlice(pixels, units: .hounsfield)
    }
  }
}
