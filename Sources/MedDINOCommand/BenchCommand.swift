import ArgumentParser
import MedDINO
import Networks
import Platform
import Tensors
import WeightFiles

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Time the network's forward pass, or a training step, on this machine.")
  @Option(help: "Rows and columns of the input, 512 by default; with --pretrain of the global crops, 224 by default.") var size: Int?
  @Option(help: "f32 or bf16.", completion: .list(["f32", "bf16"])) var precision: String?
  @Option(help: "Counted runs after one warm-up.") var runs = 5
  @Option(help: "Output classes, 16 by default.") var classes: Int?
  @Option(
    help: "Encoder preset; meddinov3_vitb16 by default, with --pretrain vit_small.", completion: .list(EncoderConfiguration.presetNames))
  var encoder: String?
  @Option(help: "With --pretrain: images of a step, 4 by default.") var batchSize: Int?
  @Flag(help: "Whole training steps: forward, loss, backward, clipping and AdamW, batch 1.") var train = false
  @Flag(
    help: """
      Whole steps of pretraining's first stage with the heads of ct-base, 2 global crops and 8 local ones of 96 pixels per image: DINO, \
      iBOT and KoLeo, backward, clipping, AdamW, moving average.
      """)
  var pretrain = false
  @Flag(help: "With --train or --pretrain: activations are computed again in the backward instead of kept.") var recompute = false
  @Flag(help: "As JSON.") var json = false
  @OptionGroup var common: CommonOptions

  func run() throws {
    try perform {
      try checkOptions()
      let context = try common.context()
      if pretrain { return try timePretraining(context) }
      let size = side
      let network = try EncoderConfiguration.preset(encoder ?? "meddinov3_vitb16")
      let configuration = Primus.Configuration(
        encoder: network, taps: Primus.Configuration.evenTaps(depth: network.depth), classes: classes ?? 16)
      if train { return try timeTraining(configuration, context) }
      let primus = try Primus(
        configuration, parameters: InitialParameters(seed: 0, configuration: network), device: context.device,
        precision: try parsePrecision(precision))
      let images = try Tensor([1, 1, size, size], in: context.budget)
      var random = CounterRandom(seed: 1, purpose: "bench")
      for index in 0..<images.count { images.floats[index] = Float(random.normal()) }
      let workspace = Workspace(context.budget)
      var times: [Double] = []
      var checksum = 0.0
      for run in 0...runs {
        let start = monotonicSeconds()
        let logits = try primus.logits(images, device: context.device, workspace: workspace)
        if run > 0 { times.append(monotonicSeconds() - start) }
        checksum = logits.value(0)
      }
      times.sort()
      let cost = NetworkCost(
        configuration, height: size, width: size, threads: context.pool.width)
      report(times, checksum, cost.flops, context)
    }
  }

  private var side: Int { size ?? (pretrain ? 224 : 512) }

  private func checkOptions() throws {
    guard !(train && pretrain) else { throw MedDINOError.invalid("--train and --pretrain are both given, expected one of them") }
    guard train || pretrain || !recompute else {
      throw MedDINOError.invalid("--recompute has an effect only together with --train or --pretrain")
    }
    guard pretrain || batchSize == nil else { throw MedDINOError.invalid("--batch-size has an effect only together with --pretrain") }
    guard !pretrain || classes == nil else { throw MedDINOError.invalid("--classes has no effect together with --pretrain") }
    guard (1...1000).contains(runs), (1...8192).contains(side) else {
      throw MedDINOError.invalid("--runs is \(runs) and --size \(side), expected 1 to 1000 and 1 to 8192")
    }
  }

  private func timeTraining(_ configuration: Primus.Configuration, _ context: Context) throws {
    let bench = TrainingBench(
      configuration: configuration, size: side, precision: try parsePrecision(precision), recompute: recompute, context: context)
    reportSteps("training step \(side) × \(side)", try bench.run(runs), context)
  }

  private func timePretraining(_ context: Context) throws {
    let bench = PretrainingBench(
      encoder: encoder ?? "vit_small", size: (side, 96), images: batchSize ?? 4, precision: try parsePrecision(precision),
      recompute: recompute, context: context)
    let (times, loss) = try bench.run(runs)
    reportSteps(
      "pretraining step, \(bench.images) images, 2 crops of \(side) and 8 of 96", times, context, [("total_loss", .number(loss))])
  }

  /// `times`: ascending.
  private func reportSteps(_ title: String, _ times: [Double], _ context: Context, _ more: [(String, JSON)] = []) {
    let median = times[times.count / 2]
    if json {
      let entries: [(String, JSON)] = [
        ("seconds", .number(median)), ("min_seconds", .number(times[0])), ("max_seconds", .number(times[times.count - 1])),
        ("peak_bytes", .integer(peakResidentBytes())), ("kernels", .string(context.device.name)),
        ("threads", .integer(context.pool.width)),
      ]
      return print(JSON.object(JSONObject(entries + more)).text())
    }
    print(
      "\(title) \(precision ?? "f32")\(recompute ? ", recomputed" : ""): median \(DecimalText.fixed(median, digits: 3)) s "
        + "(\(DecimalText.fixed(times[0], digits: 3)) to \(DecimalText.fixed(times[times.count - 1], digits: 3))), \(context.device.name), "
        + "\(context.pool.width) threads, peak \(peakResidentBytes() >> 20) MB")
  }

  private func report(_ times: [Double], _ checksum: Double, _ flops: Double, _ context: Context) {
    let median = times[times.count / 2]
    if json {
      return print(
        JSON.object(
          ("median_seconds", .number(median)), ("min_seconds", .number(times[0])), ("max_seconds", .number(times[times.count - 1])),
          ("gflops", .number(flops / median / 1e9)), ("peak_rss_bytes", .integer(peakResidentBytes())), ("checksum", .number(checksum)),
          ("kernels", .string(context.device.name)), ("threads", .integer(context.pool.width))
        ).text())
    }
    print(
      "\(side) × \(side) \(precision ?? "f32"): median \(DecimalText.fixed(median, digits: 3)) s "
        + "(\(DecimalText.fixed(times[0], digits: 3)) to \(DecimalText.fixed(times[times.count - 1], digits: 3))), "
        + "\(DecimalText.fixed(flops / median / 1e9, digits: 0)) GFLOP/s, \(context.device.name), \(context.pool.width) threads, "
        + "peak \(peakResidentBytes() >> 20) MB")
  }
}
